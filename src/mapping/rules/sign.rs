//! Rules for signatures.

use super::requests;
use crate::mapping::{
    place::Error,
    spec::{TargetSpec, sign::SignSpec},
};

pub(super) fn check(target: &TargetSpec, errors: &mut Vec<Error>) {
    let Some(sign) = &target.connection.sign else { return };
    match sign {
        SignSpec::StandardWebhooks(spec) if spec.secret_files.is_empty() => {
            errors.push(spec.place.error("no file holds a secret", "name at least one in `secretFiles`"));
        }
        SignSpec::StandardWebhooks(_) => {}
        SignSpec::Hmac(spec) => {
            requests::not_set_by_client(&spec.header.place, &spec.header.text, errors);
            if let Some(prefix) =
                spec.prefix.as_ref().filter(|prefix| !prefix.text.bytes().all(|c| c.is_ascii_graphic()))
            {
                let what = "the prefix holds a character that is not visible ASCII";
                errors.push(prefix.place.error(what, "write a text such as `sha256=`"));
            }
        }
    }
    let of_requests = target.records.requests().map(|request| &request.headers);
    for (key, _) in of_requests.chain([&target.records.headers]).flat_map(|headers| headers.iter()) {
        if sign.headers().iter().any(|set| set.eq_ignore_ascii_case(&key.text)) {
            let what = format!("`sign` sets the header `{}`", key.text);
            errors.push(key.place.error(what, "remove the header, or `sign`"));
        }
    }
}
