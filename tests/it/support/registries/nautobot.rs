//! Nautobot, with a PostgreSQL and a Redis of its own.

use std::time::Duration;

use super::{BuiltRegistries, HttpRegistry, server};
use crate::support::child::Child;

/// The tokens of `tests/registries/nautobot/template.py`: of a superuser, of an account that has just the rights of
/// `docs/targets/nautobot.md`, and of the same account without the right to write.
const PERSON_TOKEN: &str = "0000000000000000000000000000000000000000";
pub(crate) const WRITER_TOKEN: &str = "1111111111111111111111111111111111111111";
pub(crate) const READER_TOKEN: &str = "2222222222222222222222222222222222222222";
/// It loads its modules for ten seconds on an idle machine.
const START: Duration = Duration::from_secs(240);

impl BuiltRegistries {
    /// A Nautobot without virtual machines. Calls have a superuser's token. A page of a list has ten records at most.
    pub(crate) async fn nautobot(&self) -> HttpRegistry {
        let (python, script) = (self.program("nautobot/venv/bin/python"), self.program("nautobot/server.py"));
        let script = script.to_str().expect("a path of plain characters").to_owned();
        let mut registry = server::start_within(START, "/login/", move |port, data| {
            Child::start_other(&python, &[&script, &port.to_string(), data], &[])
        })
        .await;
        registry.authorize_nautobot(PERSON_TOKEN);
        registry
    }
}

impl server::RegistryCalls {
    /// Sends this token from now on.
    pub(crate) fn authorize_nautobot(&mut self, token: &str) {
        self.authorize("authorization", &format!("Token {token}"));
    }
}
