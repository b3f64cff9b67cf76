//! A bug that was found has a test here, in a file named for the rule it broke.

mod close_in_stages;
