//! Large bodies from socket to socket by splice(2) (being built).
