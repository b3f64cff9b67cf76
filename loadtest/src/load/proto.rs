//! gRPC by `.proto` files: which method is called, and its messages from JSON (the mapping of protobuf's own
//! specification). `protox` compiles the files here, without the program protoc.

use std::io;
use std::path::{Path, PathBuf};

use prost_reflect::prost::Message;
use prost_reflect::{
    DescriptorPool, DeserializeOptions, DynamicMessage, MethodDescriptor, ServiceDescriptor,
};

use super::args::invalid;

/// The compiled files.
#[derive(Clone, Debug)]
pub struct Schema(DescriptorPool);

/// One method of a schema.
#[derive(Clone, Debug)]
pub struct Call(MethodDescriptor);

/// Messages of one call that a JSON list may hold.
const MESSAGES_MAX: usize = 100_000;
const PREFIX_BYTES: usize = 5;

impl Schema {
    /// Compiles files; what they import is looked for in `includes`, then beside each of them.
    pub fn compile(files: &[PathBuf], includes: &[PathBuf]) -> io::Result<Schema> {
        let beside = |file: &PathBuf| match file.parent() {
            Some(parent) if parent != Path::new("") => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        let paths: Vec<PathBuf> = includes.iter().cloned().chain(files.iter().map(beside)).collect();
        // Its debug form has the file, the line and the column.
        let wrong = |error: protox::Error| invalid(format!("--proto: {error:?}"));
        let mut compiler = protox::Compiler::new(paths).map_err(wrong)?;
        compiler.include_imports(true);
        compiler.open_files(files).map_err(wrong)?;
        Ok(Schema(compiler.descriptor_pool()))
    }

    /// Finds `package.Service/Method`.
    pub fn call(&self, name: &str) -> io::Result<Call> {
        let trimmed = name.trim_start_matches('/');
        let Some((service, method)) = trimmed.rsplit_once('/') else {
            return Err(invalid(format!(
                "--call {name}: expected package.Service/Method; {}",
                self.services()
            )));
        };
        let found = self
            .0
            .get_service_by_name(service)
            .ok_or_else(|| invalid(format!("--call {name}: no service {service}; {}", self.services())))?;
        let call = found.methods().find(|one| one.name() == method).map(Call);
        call.ok_or_else(|| {
            invalid(format!("--call {name}: {service} has no method {method}; it has {}", methods(&found)))
        })
    }

    fn services(&self) -> String {
        let names: Vec<String> = self.0.services().map(|service| service.full_name().to_owned()).collect();
        if names.is_empty() {
            "the files have no service".into()
        } else {
            format!("there is {}", names.join(", "))
        }
    }
}

fn methods(service: &ServiceDescriptor) -> String {
    let names: Vec<String> = service.methods().map(|method| method.name().to_owned()).collect();
    if names.is_empty() { "none".into() } else { names.join(", ") }
}

impl Call {
    pub fn path(&self) -> String {
        format!("/{}/{}", self.0.parent_service().full_name(), self.0.name())
    }

    /// Appends the messages of a call with their prefixes: one for an object, and for a list, which only a method that
    /// takes a stream accepts, each of it in turn. All of them are sent `times` times.
    pub fn encode(&self, json: &str, times: u32, out: &mut Vec<u8>) -> Result<(), String> {
        let json = if json.trim().is_empty() { "{}" } else { json };
        let messages = if json.trim_start().starts_with('[') {
            let list: Vec<Box<serde_json::value::RawValue>> =
                serde_json::from_str(json).map_err(|error| format!("not JSON: {error}"))?;
            if !self.0.is_client_streaming() {
                return Err(format!("{} takes one message, found a list", self.0.full_name()));
            }
            if list.len() > MESSAGES_MAX {
                return Err(format!("expected at most {MESSAGES_MAX} messages, found {}", list.len()));
            }
            list.iter().map(|message| self.message(message.get())).collect::<Result<Vec<_>, _>>()?
        } else {
            vec![self.message(json)?]
        };
        if times > 1 && !self.0.is_client_streaming() {
            return Err(format!("{} takes one message, found --messages {times}", self.0.full_name()));
        }
        for message in (0..times).flat_map(|_| &messages) {
            let length = message.encoded_len();
            out.reserve(PREFIX_BYTES + length);
            out.push(0);
            out.extend_from_slice(&(length as u32).to_be_bytes());
            message.encode_raw(out);
        }
        Ok(())
    }

    fn message(&self, json: &str) -> Result<DynamicMessage, String> {
        let input = self.0.input();
        let wrong = |error: serde_json::Error| format!("not a {}: {error}", self.0.input().full_name());
        let mut reader = serde_json::Deserializer::from_str(json);
        let options = DeserializeOptions::new().deny_unknown_fields(true);
        let message =
            DynamicMessage::deserialize_with_options(input, &mut reader, &options).map_err(wrong)?;
        reader.end().map_err(wrong)?;
        Ok(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHOP: &str = r#"
syntax = "proto3";
package shop.v1;
import "google/protobuf/timestamp.proto";
message Charge { string id = 1; int64 cents = 2; repeated string tags = 3; google.protobuf.Timestamp at = 4; }
message Receipt { bool ok = 1; }
service Payments {
  rpc Charge(shop.v1.Charge) returns (Receipt);
  rpc ChargeAll(stream shop.v1.Charge) returns (stream Receipt);
}
"#;

    fn schema(text: &str) -> io::Result<Schema> {
        static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = format!("ringway-proto-{}-{number}.proto", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, text).expect("a file");
        let schema = Schema::compile(std::slice::from_ref(&path), &[]);
        let _ = std::fs::remove_file(path);
        schema
    }

    fn encoded(call: &Call, json: &str, times: u32) -> Result<Vec<u8>, String> {
        let mut out = Vec::new();
        call.encode(json, times, &mut out).map(|()| out)
    }

    #[test]
    fn json_becomes_messages_with_their_prefix() {
        let call = schema(SHOP).and_then(|schema| schema.call("shop.v1.Payments/Charge")).expect("a method");
        assert_eq!(call.path(), "/shop.v1.Payments/Charge");
        for (json, expected) in [
            // The wire format by hand: field 1 with two bytes, field 2 as a varint of 300.
            (r#"{"id": "ab", "cents": 300}"#, &b"\0\0\0\0\x07\x0a\x02ab\x10\xac\x02"[..]),
            (r#"{"cents": "300"}"#, b"\0\0\0\0\x03\x10\xac\x02"),
            (r#"{"at": "1970-01-01T00:00:01Z"}"#, b"\0\0\0\0\x04\x22\x02\x08\x01"),
            ("{}", b"\0\0\0\0\0"),
            ("", b"\0\0\0\0\0"),
        ] {
            assert_eq!(encoded(&call, json, 1).as_deref(), Ok(expected), "{json}");
        }
    }

    #[test]
    fn a_stream_takes_a_list() {
        let schema = schema(SHOP).expect("valid");
        let stream = schema.call("/shop.v1.Payments/ChargeAll").expect("a method");
        let expected = b"\0\0\0\0\x02\x10\x01\0\0\0\0\x02\x10\x02".repeat(2);
        assert_eq!(encoded(&stream, r#"[{"cents": 1}, {"cents": 2}]"#, 2), Ok(expected));
        let unary = schema.call("shop.v1.Payments/Charge").expect("a method");
        assert!(encoded(&unary, "[{}]", 1).is_err() && encoded(&unary, "{}", 2).is_err());
    }

    #[test]
    fn what_is_wrong_is_said_with_what_there_is() {
        let schema_ = schema(SHOP).expect("valid");
        let said = |name: &str| schema_.call(name).map(|_| ()).map_err(|error| error.to_string());
        for (name, expected) in [
            ("shop.v1.Payments/Refund", "it has Charge, ChargeAll"),
            ("shop.Payments/Charge", "there is shop.v1.Payments"),
            ("Charge", "expected package.Service/Method"),
        ] {
            assert!(said(name).is_err_and(|text| text.contains(expected)), "{name}");
        }
        let call = schema_.call("shop.v1.Payments/Charge").expect("a method");
        for json in [r#"{"cent": 1}"#, r#"{"cents": "many"}"#, "{", "{} {}", "[1"] {
            assert!(encoded(&call, json, 1).is_err(), "{json}");
        }
        let said =
            schema("syntax = \"proto3\";\nmessage X { int32 a = 1 }").map(|_| ()).map_err(|e| e.to_string());
        assert!(said.as_ref().is_err_and(|text| text.contains(":2:25:")), "{said:?}");
    }
}
