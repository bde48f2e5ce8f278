//! What a `completion/complete` request is about: `params.ref`, which is not where other requests name their target.

use mcp::Message;
use mcp::json::{JsonError, Reader, Span};

/// What is to be completed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reference {
    Prompt {
        name: String,
        /// Where the name stands in the message.
        span: Span,
    },
    Resource {
        uri: String,
    },
}

impl Reference {
    /// `None` where there is none, or of another kind.
    pub(super) fn read(message: &Message) -> Option<Self> {
        let (text, params) = (message.text(), message.params()?);
        let start = params.as_ptr() as usize - text.as_ptr() as usize;
        let (mut kind, mut name, mut uri) = (Span::default(), Span::default(), Span::default());
        let mut reader = Reader::new(params).ok()?;
        if reader.peek() != Some(b'{') {
            return None;
        }
        reader
            .object::<JsonError>(|reader, member| {
                if member != b"ref" || reader.peek() != Some(b'{') {
                    return reader.value().map(drop);
                }
                reader
                    .object::<JsonError>(|reader, member| {
                        let value = reader.value()?;
                        match member {
                            b"type" => kind = value,
                            b"name" => name = value,
                            b"uri" => uri = value,
                            _ => {}
                        }
                        Ok(())
                    })
                    .map(drop)
            })
            .ok()?;
        let text_of = |span: Span| Some(mcp::json::decode_str(span.of(params)?)?.into_owned());
        match &*text_of(kind)? {
            "ref/prompt" => {
                let range = name.range();
                let span = Span::new(start + range.start, start + range.end);
                Some(Self::Prompt { name: text_of(name)?, span })
            }
            "ref/resource" => Some(Self::Resource { uri: text_of(uri)? }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn read(reference: &str) -> Option<Reference> {
        let text = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"completion/complete","params":{{"x":[1],"ref":{reference}}}}}"#
        );
        let message = Message::parse(Bytes::from(text)).unwrap();
        let read = Reference::read(&message);
        if let Some(Reference::Prompt { span, .. }) = &read {
            let spliced = message.splice(&[(*span, b"\"new\"")]);
            assert!(std::str::from_utf8(&spliced).unwrap().contains(r#""name":"new""#));
        }
        read
    }

    #[test]
    fn names_a_prompt_or_a_resource() {
        assert!(
            matches!(read(r#"{"type":"ref/prompt","name":"p"}"#), Some(Reference::Prompt { name, .. }) if name == "p")
        );
        assert_eq!(
            read(r#"{"uri":"a://b","type":"ref/resource"}"#),
            Some(Reference::Resource { uri: "a://b".into() })
        );
        for none in ["1", "{}", r#"{"type":"ref/other","name":"p"}"#, r#"{"type":"ref/prompt"}"#] {
            assert_eq!(read(none), None, "{none}");
        }
    }
}
