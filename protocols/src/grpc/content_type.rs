//! Which requests are calls: by `Content-Type`.

/// How a call is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// gRPC over HTTP/2.
    Grpc,
    /// gRPC-Web, binary.
    Web,
    /// gRPC-Web in base64.
    WebText,
}

/// A `Content-Type` of gRPC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentType<'a> {
    pub form: Form,
    /// The encoding of messages with its plus sign, such as `+proto`; empty where none is said.
    pub encoding: &'a [u8],
}

impl<'a> ContentType<'a> {
    /// `None` for a type that is not gRPC.
    pub fn parse(value: &'a [u8]) -> Option<ContentType<'a>> {
        let media = value.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        let plus = media.iter().position(|byte| *byte == b'+').unwrap_or(media.len());
        let (name, encoding) = media.split_at(plus);
        let form = FORMS.iter().find(|(text, _)| name.eq_ignore_ascii_case(text.as_bytes()))?.1;
        Some(ContentType { form, encoding })
    }

    /// The same encoding in another form.
    pub fn render(&self, form: Form) -> Vec<u8> {
        let name = FORMS.iter().find(|(_, of)| *of == form).map_or("", |(text, _)| text);
        [name.as_bytes(), self.encoding].concat()
    }
}

const FORMS: [(&str, Form); 3] = [
    ("application/grpc", Form::Grpc),
    ("application/grpc-web", Form::Web),
    ("application/grpc-web-text", Form::WebText),
];
