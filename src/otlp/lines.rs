//! Log lines as log records. The message is the body; level, module and fields keep their names.

use prost::Message as _;

use super::{
    WallClock,
    messages::{AnyValue, KeyValue, LogRecord, LogsRequest, OtlpResource, OtlpScope, ResourceLogs, ScopeLogs, Value},
};
use crate::telemetry::log_export::{FieldValue, LogLine};

/// The body of a request with these lines.
pub fn encode(resource: &OtlpResource, lines: &[LogLine], clock: WallClock) -> Vec<u8> {
    let observed_time = clock.nanos(clock.moment);
    let log_records = lines.iter().map(|line| record(line, observed_time)).collect();
    let scope_logs = vec![ScopeLogs { scope: Some(OtlpScope::of_this_program()), log_records }];
    let resource_logs = vec![ResourceLogs { resource: Some(resource.clone()), scope_logs }];
    LogsRequest { resource_logs }.encode_to_vec()
}

fn record(line: &LogLine, observed_time: u64) -> LogRecord {
    let LogLine { wall, level, module, message, fields, trace } = line;
    let names = trace.as_ref().and_then(|trace| Some((bytes(&trace.trace_id)?, bytes(&trace.span_id)?)));
    let flags = u32::from(names.is_some());
    let (trace_id, span_id) = names.unwrap_or_default();
    let mut attributes = vec![KeyValue::text("code.namespace", *module)];
    attributes.extend(fields.iter().map(|(name, field)| KeyValue::new(name.clone(), value(field))));
    LogRecord {
        time: u64::try_from(wall.as_nanos()).unwrap_or(u64::MAX),
        severity_number: severity(*level),
        severity_text: level.as_str().to_owned(),
        body: Some(AnyValue::of(Value::Text(message.clone()))),
        attributes,
        flags,
        trace_id,
        span_id,
        observed_time,
    }
}

/// The bytes that hexadecimal digits stand for.
fn bytes(digits: &str) -> Option<Vec<u8>> {
    let pairs = digits.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

fn value(field: &FieldValue) -> Value {
    match field {
        FieldValue::Text(text) => Value::Text(text.clone()),
        FieldValue::Bool(is) => Value::Bool(*is),
        FieldValue::Integer(number) => Value::Integer(*number),
        FieldValue::Number(number) => Value::Number(*number),
    }
}

fn severity(level: tracing::Level) -> i32 {
    match level {
        tracing::Level::TRACE => 1,
        tracing::Level::DEBUG => 5,
        tracing::Level::INFO => 9,
        tracing::Level::WARN => 13,
        tracing::Level::ERROR => 17,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use opentelemetry_proto::tonic::{
        collector::logs::v1::ExportLogsServiceRequest, common::v1::any_value::Value as OfficialValue,
        logs::v1::SeverityNumber,
    };

    use super::*;
    use crate::{model::moment::Moment, telemetry::log_export::LineTrace};

    #[test]
    fn official_definitions_read_a_line() {
        let fields = vec![
            ("pod".into(), FieldValue::Text("shop/web-0".into())),
            ("failures".into(), FieldValue::Integer(3)),
            ("seconds".into(), FieldValue::Number(1.5)),
            ("unanswered".into(), FieldValue::Bool(true)),
        ];
        let line = LogLine {
            wall: Duration::from_secs(1_700_000_000),
            level: tracing::Level::WARN,
            module: "pod_registrar::controller",
            message: "not applied; retrying".into(),
            fields,
            trace: Some(LineTrace { trace_id: "0a".repeat(16), span_id: "0b".repeat(8) }),
        };
        let clock = WallClock { moment: Moment::START, wall: Duration::from_secs(1_700_000_001) };
        let body = encode(&OtlpResource { attributes: Vec::new() }, &[line], clock);
        let request = <ExportLogsServiceRequest as prost::Message>::decode(&body[..]).unwrap();
        let record = &request.resource_logs[0].scope_logs[0].log_records[0];
        assert_eq!(
            (record.time_unix_nano, record.observed_time_unix_nano),
            (1_700_000_000_000_000_000, 1_700_000_001_000_000_000)
        );
        assert_eq!((&*record.trace_id, &*record.span_id, record.flags), (&[10; 16][..], &[11; 8][..], 1));
        assert_eq!((record.severity_number(), &*record.severity_text), (SeverityNumber::Warn, "WARN"));
        let body = record.body.as_ref().unwrap().value.clone().unwrap();
        assert_eq!(body, OfficialValue::StringValue("not applied; retrying".into()));
        let names: Vec<&str> = record.attributes.iter().map(|attribute| &*attribute.key).collect();
        assert_eq!(names, ["code.namespace", "pod", "failures", "seconds", "unanswered"]);
        let value = |at: usize| record.attributes[at].value.as_ref().unwrap().value.clone().unwrap();
        assert_eq!((value(2), value(3)), (OfficialValue::IntValue(3), OfficialValue::DoubleValue(1.5)));
        assert_eq!(value(4), OfficialValue::BoolValue(true));
    }
}
