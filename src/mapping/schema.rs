//! The JSON Schema of a targets file, for editors and other tools.

use serde_json::Value;

use super::{members::FromTree, spec::TargetsFile};

/// The schema. It describes the members of a file; rules about members that belong together are checked at load only.
pub fn schema() -> Value {
    let mut schema = TargetsFile::schema();
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    // A target that overrides a preset may name only some members of a map.
    if let Some(Value::Object(item)) = schema.pointer_mut("/properties/targets/items/properties/item") {
        item.remove("required");
    }
    schema["title"] = "Targets of pod-registrar".into();
    schema
}
