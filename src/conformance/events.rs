//! Server-sent events of a body that is still coming.

use serde_json::{Value, json};

/// The complete events of a text, as `{"id": …, "data": …}`. `data` is `null` if it is no JSON. An event that has no
/// data, such as a comment, is none.
pub(super) fn parse(text: &str) -> Vec<Value> {
    let (mut events, mut id, mut data) = (Vec::new(), None::<String>, Vec::new());
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let complete = text.rfind('\n').map_or("", |end| &text[..=end]);
    for line in complete.split_terminator('\n') {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "" if line.is_empty() && !data.is_empty() => {
                let text = std::mem::take(&mut data).join("\n");
                events.push(json!({"id": id, "data": serde_json::from_str::<Value>(&text).unwrap_or_default()}));
            }
            "id" => id = Some(value.to_owned()),
            "data" => data.push(value.to_owned()),
            _ => {}
        }
    }
    events
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_end_with_an_empty_line() {
        let text =
            ": alive\n\nid: 7\ndata: {\"n\":\ndata: 7}\n\nevent:put\r\nid:8\r\ndata:{\"n\":8}\r\n\r\nid: 9\ndata: {}\n";
        assert_eq!(parse(text), [json!({"id": "7", "data": {"n": 7}}), json!({"id": "8", "data": {"n": 8}})]);
        assert_eq!(parse("data: no JSON\n\n"), [json!({"id": null, "data": null})]);
        assert_eq!(parse("{\"items\":[]}"), Vec::<Value>::new());
    }
}
