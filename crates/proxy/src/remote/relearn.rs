//! After a call was refused for its headers: the list of tools is read again, since an annotation must have changed or
//! was never seen (2026-07-28 "Client Behavior").

use bytes::Bytes;
use mcp::json::{JsonError, Reader, Span};
use mcp::{Message, Method};

use super::call::ask;
use super::link::Link;

/// Pages of tools that are read for one call.
const MAX_PAGES: usize = 64;

/// Lists the server's tools with the `_meta` of the refused call, up to the page that has its tool.
pub(super) async fn relearn(link: &Link, refused: &Message) {
    debug_assert_eq!(refused.method(), Method::ToolsCall);
    let (Some(name), Some(meta)) = (refused.target(), refused.meta()) else { return };
    let mut cursor = None;
    for page in 0..MAX_PAGES {
        let Ok(request) = Message::parse(list_request(page, meta, cursor.as_deref())) else { return };
        let Some(answer) = ask(link, &request).await else { return };
        link.tools.learn(&answer);
        cursor = answer.result().and_then(next_cursor).map(<[u8]>::to_vec);
        if cursor.is_none() || has_tool(&answer, &name) {
            return;
        }
    }
}

fn list_request(page: usize, meta: &[u8], cursor: Option<&[u8]>) -> Bytes {
    let mut text =
        format!(r#"{{"jsonrpc":"2.0","id":"skep-{page}","method":"tools/list","params":{{"#).into_bytes();
    if let Some(cursor) = cursor {
        text.extend_from_slice(b"\"cursor\":");
        text.extend_from_slice(cursor);
        text.push(b',');
    }
    text.extend_from_slice(b"\"_meta\":");
    text.extend_from_slice(meta);
    text.extend_from_slice(b"}}");
    text.into()
}

/// The cursor of the next page, as JSON text.
fn next_cursor(result: &[u8]) -> Option<&[u8]> {
    let mut cursor = Span::default();
    let read = Reader::new(result).and_then(|mut reader| {
        reader.object::<JsonError>(|reader, name| {
            let value = reader.value()?;
            if name == b"nextCursor" {
                cursor = value;
            }
            Ok(())
        })
    });
    cursor.of(result).filter(|text| read.is_ok() && text.starts_with(b"\""))
}

fn has_tool(answer: &Message, name: &str) -> bool {
    let tools = answer.tools_span().map_or(&b"[]"[..], |span| &answer.text()[span.range()]);
    mcp::param_headers::read_tools(tools).is_ok_and(|listed| listed.iter().any(|tool| tool.name == name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_asked_for_with_the_cursor_as_it_was_given() {
        assert_eq!(next_cursor(br#"{"tools":[],"nextCursor":"a\u0062"}"#), Some(&br#""a\u0062""#[..]));
        assert_eq!(next_cursor(br#"{"tools":[{"nextCursor":"x"}]}"#), None);
        assert_eq!(next_cursor(br#"{"nextCursor":null}"#), None);
        let request = Message::parse(list_request(3, br#"{"progressToken":1}"#, Some(br#""c""#))).unwrap();
        assert_eq!(request.id(), Some(&br#""skep-3""#[..]));
        assert_eq!(request.params(), Some(&br#"{"cursor":"c","_meta":{"progressToken":1}}"#[..]));
    }
}
