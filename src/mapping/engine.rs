//! The template engine: minijinja, reduced to expressions.
//!
//! Templates have no clock, files, environment or randomness. Fuel bounds the work of one expression, and
//! [`super::values`] bounds its result.

use std::{fmt, sync::LazyLock};

use minijinja::{
    Environment, Expression, UndefinedBehavior, Value,
    machinery::{Token, tokenize},
    syntax::SyntaxConfig,
};

use super::{filters, values};

/// The work that one expression may do. Writing a record of 20 kB as JSON in base64 takes less than a tenth.
const FUEL: u64 = 50_000;

/// Names and signs of one expression. The engine and the checks go down a level of the stack for each operator in a
/// chain of them.
const PARTS: usize = 200;

/// The filters of the engine that templates can use. The others write HTML or Python.
const ENGINE_FILTERS: [&str; 39] = [
    "abs",
    "attr",
    "batch",
    "bool",
    "capitalize",
    "chain",
    "count",
    "d",
    "default",
    "dictsort",
    "first",
    "float",
    "format",
    "groupby",
    "int",
    "items",
    "join",
    "last",
    "length",
    "lines",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "round",
    "select",
    "selectattr",
    "slice",
    "sort",
    "split",
    "sum",
    "title",
    "trim",
    "unique",
];
const MORE_ENGINE_FILTERS: [&str; 2] = ["upper", "zip"];
/// Filters that are removed: they write HTML or Python, or hide what a value is.
const REMOVED_FILTERS: [&str; 6] = ["e", "escape", "indent", "pprint", "safe", "string"];
pub(super) const TESTS: [&str; 37] = [
    "!=",
    "<",
    "<=",
    "==",
    ">",
    ">=",
    "boolean",
    "defined",
    "divisibleby",
    "endingwith",
    "eq",
    "equalto",
    "even",
    "false",
    "float",
    "ge",
    "greaterthan",
    "gt",
    "in",
    "int",
    "integer",
    "iterable",
    "le",
    "lessthan",
    "lower",
    "lt",
    "mapping",
    "ne",
    "none",
    "number",
    "odd",
    "sameas",
    "sequence",
    "startingwith",
    "string",
    "true",
    "undefined",
];
const REMOVED_TESTS: [&str; 4] = ["escaped", "filter", "safe", "test"];
pub(super) const FUNCTIONS: [&str; 2] = ["dict", "range"];
const REMOVED_FUNCTIONS: [&str; 2] = ["debug", "namespace"];

static ENGINE: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut engine = Environment::new();
    engine.set_undefined_behavior(UndefinedBehavior::Strict);
    engine.set_fuel(Some(FUEL));
    REMOVED_FILTERS.iter().for_each(|name| engine.remove_filter(name));
    REMOVED_TESTS.iter().for_each(|name| engine.remove_test(name));
    REMOVED_FUNCTIONS.iter().for_each(|name| engine.remove_global(name));
    filters::add_to(&mut engine);
    engine
});

/// Whether an expression has more names and signs than one may have. It has to be asked before the expression is
/// parsed.
pub(super) fn is_too_long(expression: &str) -> bool {
    let tokens = tokenize(expression, true, SyntaxConfig::default()).map_while(Result::ok);
    // A long list of values is no chain.
    let is_number = |token: &Token<'_>| matches!(token, Token::Float(_) | Token::Int(_) | Token::Int128(_));
    let is_text = |token: &Token<'_>| matches!(token, Token::Str(_) | Token::String(_));
    let is_part = |token: &Token<'_>| !matches!(token, Token::Comma) && !is_number(token) && !is_text(token);
    tokens.filter(|(token, _)| is_part(token)).nth(PARTS).is_some()
}

/// A compiled expression.
pub(super) struct Compiled {
    expression: Expression<'static, 'static>,
    /// The members that it names below words that may be undefined, such as `seen.version`.
    members: Box<[String]>,
}

impl Compiled {
    /// # Errors
    /// The expression cannot be parsed.
    pub(super) fn new(expression: &str) -> Result<Self, minijinja::Error> {
        let expression = ENGINE.compile_expression_owned(expression.to_owned())?;
        Ok(Self { expression, members: Box::default() })
    }

    /// The same with the members that it names, for errors.
    pub(super) fn with_members(self, members: Vec<String>) -> Self {
        Self { members: members.into(), ..self }
    }

    /// # Errors
    /// A value is undefined or has a type that the expression cannot use, or the work exceeds [`FUEL`].
    pub(super) fn evaluate(&self, words: &Value) -> Result<Value, values::Error> {
        self.expression.eval(words.clone()).map_err(|error| match values::evaluation(error) {
            values::Error::Undefined => self.without_owner(words).unwrap_or(values::Error::Undefined),
            other => other,
        })
    }

    /// The first member whose owner is undefined.
    fn without_owner(&self, words: &Value) -> Option<values::Error> {
        self.members.iter().find_map(|member| {
            let owner = member.rsplit_once('.')?.0;
            let value = owner.split('.').try_fold(words.clone(), |value, name| value.get_attr(name).ok());
            let is_missing = value.is_none_or(|value| value.is_undefined() || value.is_none());
            is_missing.then(|| values::Error::NoOwner(owner.to_owned(), member.clone()))
        })
    }
}

impl fmt::Debug for Compiled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Compiled")
    }
}

/// The names of all filters.
pub fn filter_names() -> impl Iterator<Item = &'static str> {
    ENGINE_FILTERS.into_iter().chain(MORE_ENGINE_FILTERS).chain(filters::NAMES)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evaluate(text: &str) -> Result<Value, minijinja::Error> {
        Compiled::new(text)?.expression.eval(Value::from(()))
    }

    #[test]
    fn listed_filters_and_tests_exist() {
        for name in filter_names() {
            let kind = evaluate(&format!("1 | {name}")).map_err(|error| error.kind());
            assert_ne!(kind, Err(minijinja::ErrorKind::UnknownFilter), "{name}");
        }
        for name in TESTS.into_iter().filter(|name| name.starts_with(char::is_alphabetic)) {
            let kind = evaluate(&format!("1 is {name}")).map_err(|error| error.kind());
            assert_ne!(kind, Err(minijinja::ErrorKind::UnknownTest), "{name}");
        }
        for name in FUNCTIONS {
            assert!(evaluate(name).is_ok_and(|value| !value.is_undefined()), "{name}");
        }
    }

    #[test]
    fn removed_names_are_unknown() {
        for name in REMOVED_FILTERS {
            assert!(evaluate(&format!("'a' | {name}")).is_err(), "{name}");
        }
        for name in REMOVED_TESTS {
            assert!(evaluate(&format!("'a' is {name}")).is_err(), "{name}");
        }
        for name in REMOVED_FUNCTIONS {
            assert!(evaluate(name).is_ok_and(|value| value.is_undefined()), "{name}");
        }
    }

    #[test]
    fn work_of_an_expression_is_bounded() {
        for text in [
            "range(1000000000) | list | length",
            "'a' * 1000000000",
            "range(3000) | map('int') | sort | join(',') * 100000",
            "'%1000000000d' | format(1)",
        ] {
            assert!(evaluate(text).is_err(), "{text}");
        }
    }

    #[test]
    fn member_of_undefined_value_names_its_owner() {
        let words = Value::from_pairs([("a", Value::from_pairs([("b", 1)])), ("seen", Value::UNDEFINED)]);
        let error = |text: &str, members: &[&str]| {
            let members = members.iter().map(|&member| member.to_owned()).collect();
            Compiled::new(text).unwrap().with_members(members).evaluate(&words).unwrap_err().to_string()
        };
        let text = error("seen.s | default('x')", &["seen.s"]);
        assert_eq!(
            text,
            "`seen` is undefined, so it has no members; write `{{ seen.s if seen is defined else omit }}`"
        );
        assert!(error("a.c.d", &["a.c", "a.c.d"]).starts_with("`a.c` is undefined"));
        assert!(error("missing.c", &["a.b"]).starts_with("the value is undefined"));
    }

    #[test]
    fn undefined_values_in_operators_are_errors() {
        for text in ["missing.member", "missing ~ 'a'", "missing + 1", "missing | upper", "not missing", "missing == 1"]
        {
            assert!(evaluate(text).is_err(), "{text}");
        }
    }
}
