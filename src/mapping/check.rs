//! Checks of an expression before it is used: words, members, filters, and where `omit` stands.
//!
//! The engine finds most of these only when it evaluates the expression, and then only on the path that it takes.

use minijinja::machinery::ast::{BinOpKind, Call, CallArg, Expr, Filter, UnaryOpKind};

use super::{
    engine,
    members::instead,
    shape::Shape,
    words::{Position, Word, WordSet},
};

/// What an expression may use.
pub(super) struct Allowed<'a> {
    pub(super) position: Position,
    /// Words of the position, and `it` in a part of `$each`.
    pub(super) words: WordSet,
    /// The words that a variable uses, or `None` if there is no such variable.
    pub(super) variable: &'a dyn Fn(&str) -> Option<WordSet>,
    pub(super) variables: &'a [String],
    /// The names of `prepare`, with the words that each keeps.
    pub(super) prepared: &'a [(String, Vec<String>)],
    /// The kinds of the records that this one belongs to.
    pub(super) above: &'a [KindAbove],
    /// The names of the secrets of a login.
    pub(super) secrets: &'a [&'a str],
}

/// A kind whose record the word `of` names.
pub(super) struct KindAbove {
    pub(super) name: String,
    /// Whether its `remote` is read.
    pub(super) reads_remote: bool,
}

/// What is wrong, and the fix.
pub(super) type CheckError = (String, String);

/// What a correct expression uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Uses {
    /// Its words, and those of its variables.
    pub(super) words: WordSet,
    /// Whether its result depends on which labels or annotations a pod has.
    pub(super) keys: bool,
}

/// Returns also the members that the expression names below words that may be undefined, such as `seen.version`.
pub(super) fn check(expression: &Expr<'_>, allowed: &Allowed<'_>) -> Result<(Uses, Vec<String>), CheckError> {
    let mut check = Check { allowed, uses: Uses::default(), members: Vec::new() };
    check.walk(expression, true)?;
    Ok((check.uses, check.members))
}

struct Check<'a> {
    allowed: &'a Allowed<'a>,
    uses: Uses,
    members: Vec<String>,
}

type Checked = Result<Shape, CheckError>;

fn problem(what: impl Into<String>, fix: impl Into<String>) -> CheckError {
    (what.into(), fix.into())
}

fn unknown<'n>(kind: &str, wrong: &str, names: impl IntoIterator<Item = &'n str>) -> CheckError {
    let names: Vec<&str> = names.into_iter().collect();
    let fix = if names.is_empty() { "remove it, or define it".to_owned() } else { instead(wrong, &names) };
    problem(format!("there is no {kind} `{wrong}`"), fix)
}

impl Check<'_> {
    /// `is_result` says whether the value of the expression is the value of the whole template.
    fn walk(&mut self, expression: &Expr<'_>, is_result: bool) -> Checked {
        match expression {
            Expr::Var(word) => self.word(word.id, is_result),
            Expr::Const(value) => Ok(constant(&value.value)),
            Expr::GetAttr(access) => self.member(&access.expr, access.name),
            Expr::GetItem(access) => match &access.subscript_expr {
                Expr::Const(key) if key.value.as_str().is_some() => {
                    self.member(&access.expr, key.value.as_str().unwrap_or_default())
                }
                subscript => self.item(&access.expr, subscript),
            },
            Expr::Filter(filter) => self.filter(filter, is_result),
            Expr::Test(test) => {
                if !engine::TESTS.contains(&test.name) {
                    return Err(unknown("test", test.name, engine::TESTS));
                }
                self.walk(&test.expr, false)?;
                self.arguments(&test.args, false)?;
                Ok(Shape::Bool)
            }
            Expr::IfExpr(choice) => {
                self.walk(&choice.test_expr, false)?;
                let shape = self.walk(&choice.true_expr, is_result)?;
                let other = choice.false_expr.as_ref().map(|other| self.walk(other, is_result)).transpose()?;
                Ok(if other == Some(shape) { shape } else { Shape::Any })
            }
            Expr::UnaryOp(operation) => {
                self.walk(&operation.expr, false)?;
                Ok(if matches!(operation.op, UnaryOpKind::Not) { Shape::Bool } else { Shape::Number })
            }
            Expr::BinOp(operation) => self.operation(operation.op, &operation.left, &operation.right, is_result),
            Expr::Compare(comparison) => {
                self.walk(&comparison.expr, false)?;
                comparison.ops.iter().try_for_each(|one| self.walk(&one.expr, false).map(drop))?;
                Ok(Shape::Bool)
            }
            Expr::Slice(slice) => {
                let shape = self.walk(&slice.expr, false)?;
                for bound in [&slice.start, &slice.stop, &slice.step].into_iter().flatten() {
                    self.walk(bound, false)?;
                }
                Ok(shape)
            }
            Expr::Call(call) => self.call(call),
            Expr::List(list) => self.parts(list.items.iter()),
            Expr::Tuple(tuple) => self.parts(tuple.items.iter()),
            Expr::Map(map) => {
                map.keys.iter().try_for_each(|key| self.walk(key, false).map(drop))?;
                self.parts(map.values.iter())
            }
        }
    }

    fn parts<'e, 's: 'e>(&mut self, mut parts: impl Iterator<Item = &'e Expr<'s>>) -> Checked {
        parts.try_for_each(|part| self.walk(part, true).map(drop))?;
        Ok(Shape::Any)
    }

    fn word(&mut self, name: &str, is_result: bool) -> Checked {
        let allowed = self.allowed;
        let Some(word) = Word::named(name) else {
            return Err(unknown("word", name, allowed.words.words().map(Word::name).collect::<Vec<_>>()));
        };
        if !allowed.words.has(word) {
            let (place, reason) = (allowed.position.name(), allowed.position.reason_against(word));
            return Err(problem(format!("{place} cannot use `{name}`{reason}"), format!("use only {}", allowed.words)));
        }
        if word == Word::Omit && !is_result {
            return Err(problem(
                "`omit` is part of a larger expression",
                "let `omit` be the whole result, such as in `{{ a | default(omit) }}` or `{{ a if b else omit }}`",
            ));
        }
        self.uses.words = self.uses.words.and(WordSet::of(&[word]));
        Ok(Shape::of(word))
    }

    fn member(&mut self, owner: &Expr<'_>, name: &str) -> Checked {
        match owner {
            Expr::Var(word) if word.id == Word::Vars.name() => {
                self.word(word.id, false)?;
                return self.variable(name);
            }
            Expr::Var(word) if word.id == Word::Prepared.name() => {
                let prepared = self.allowed.prepared;
                if !prepared.iter().any(|(known, _)| known == name) {
                    return Err(unknown("item of `prepare`", name, prepared.iter().map(|(known, _)| known.as_str())));
                }
            }
            Expr::Var(word) if word.id == Word::Secret.name() => {
                let secrets = self.allowed.secrets;
                if self.allowed.words.has(Word::Secret) && !secrets.contains(&name) {
                    return Err(unknown("secret", name, secrets.iter().copied()));
                }
            }
            Expr::Var(word) if word.id == Word::Of.name() => {
                let above = self.allowed.above;
                if !above.is_empty() && !above.iter().any(|kind| kind.name == name) {
                    let names: Vec<&str> = above.iter().map(|kind| kind.name.as_str()).collect();
                    return Err(problem(format!("this record belongs to no kind `{name}`"), instead(name, &names)));
                }
            }
            Expr::GetAttr(inner) => {
                self.kept_word(inner.name, &inner.expr, name)?;
                self.word_above(inner.name, &inner.expr, name)?;
            }
            _ => {}
        }
        let shape = self.walk(owner, false)?;
        if let Some(path) = unknown_path(owner) {
            self.members.push(format!("{path}.{name}"));
        }
        self.uses.keys |= matches!(shape, Shape::Map(_));
        let described = describe(owner);
        shape.member(name).map_err(|names| {
            let fix =
                if names.is_empty() { format!("{described} is {}", shape.describe()) } else { instead(name, &names) };
            problem(format!("{described} has no member `{name}`"), fix)
        })
    }

    /// `prepared.NAME.WORD`: whether NAME keeps WORD.
    fn kept_word(&self, name: &str, owner: &Expr<'_>, word: &str) -> Result<(), CheckError> {
        if !matches!(owner, Expr::Var(var) if var.id == Word::Prepared.name()) {
            return Ok(());
        }
        let Some((_, kept)) = self.allowed.prepared.iter().find(|(known, _)| known == name) else { return Ok(()) };
        if kept.iter().any(|known| known == word) {
            return Ok(());
        }
        Err(problem(
            format!("`prepared.{name}` has no member `{word}`"),
            format!("add `{word}` to `keep` of `{name}`, which has: {}", kept.join(", ")),
        ))
    }

    /// `of.KIND.WORD`: whether it is `id`, or a `remote` that is read.
    fn word_above(&self, name: &str, owner: &Expr<'_>, word: &str) -> Result<(), CheckError> {
        if !matches!(owner, Expr::Var(var) if var.id == Word::Of.name()) {
            return Ok(());
        }
        let Some(kind) = self.allowed.above.iter().find(|kind| kind.name == name) else { return Ok(()) };
        match word {
            "remote" if !kind.reads_remote => {
                let what = format!("`remote` of the kind `{name}` is not read");
                Err(problem(what, "read it in its `create` or `item`"))
            }
            "id" | "remote" => Ok(()),
            _ => Err(problem(format!("`of.{name}` has no member `{word}`"), instead(word, &["id", "remote"]))),
        }
    }

    fn variable(&mut self, name: &str) -> Checked {
        let allowed = self.allowed;
        let Some(words) = (allowed.variable)(name) else {
            return Err(unknown("variable", name, allowed.variables.iter().map(String::as_str)));
        };
        let missing = words.without(allowed.words);
        if let Some(word) = missing.words().next() {
            let (place, reason) = (allowed.position.name(), allowed.position.reason_against(word));
            return Err(problem(
                format!("{place} cannot use `vars.{name}`, which uses `{}`{reason}", word.name()),
                format!("use only variables of {}", allowed.words),
            ));
        }
        self.uses.words = self.uses.words.and(words);
        Ok(Shape::Any)
    }

    fn item(&mut self, owner: &Expr<'_>, subscript: &Expr<'_>) -> Checked {
        if matches!(owner, Expr::Var(word) if word.id == Word::Vars.name()) {
            return Err(problem("the name of a variable is computed", "write `vars.NAME`"));
        }
        let shape = self.walk(owner, false)?;
        self.walk(subscript, false)?;
        self.uses.keys |= matches!(shape, Shape::Map(_));
        Ok(match shape {
            Shape::List(element) | Shape::Map(element) => *element,
            _ => Shape::Any,
        })
    }

    fn filter(&mut self, filter: &Filter<'_>, is_result: bool) -> Checked {
        let names: Vec<&str> = engine::filter_names().collect();
        if !names.contains(&filter.name) {
            return Err(unknown("filter", filter.name, names));
        }
        let is_default = matches!(filter.name, "default" | "d");
        let input = filter.expr.as_ref().map_or(Ok(Shape::Any), |input| self.walk(input, is_default && is_result))?;
        self.named_in_argument(filter, input, &names)?;
        self.arguments(&filter.args, is_default && is_result)?;
        Ok(match filter.name {
            "first" | "last" => input.element(),
            "list" | "reject" | "rejectattr" | "reverse" | "select" | "selectattr" | "sort" | "unique" => input,
            "b64" | "b64d" | "dnslabel" | "fit" | "join" | "json" | "lower" | "metakey" | "sha256" | "upper" => {
                Shape::Text
            }
            "count" | "epoch" | "int" | "length" => Shape::Number,
            _ => Shape::Any,
        })
    }

    /// The filters, tests and members that are named in a text: `map('upper')`, `map(attribute='name')`.
    fn named_in_argument(&self, filter: &Filter<'_>, input: Shape, filters: &[&str]) -> Result<(), CheckError> {
        let texts = filter.args.iter().map(|argument| match argument {
            CallArg::Pos(Expr::Const(name)) => name.value.as_str().map(|text| (None, text)),
            CallArg::Kwarg(key, Expr::Const(name)) => name.value.as_str().map(|text| (Some(*key), text)),
            _ => None,
        });
        for (at, (key, text)) in texts.enumerate().filter_map(|(at, text)| Some((at, text?))) {
            match (filter.name, key, at) {
                ("map", None, 0) if !filters.contains(&text) => {
                    return Err(unknown("filter", text, filters.iter().copied()));
                }
                ("select" | "reject", None, 0) | ("selectattr" | "rejectattr", None, 1)
                    if !engine::TESTS.contains(&text) =>
                {
                    return Err(unknown("test", text, engine::TESTS));
                }
                ("selectattr" | "rejectattr" | "groupby", None, 0)
                | ("map" | "sort" | "unique", Some("attribute"), _) => {
                    let first = text.split('.').next().unwrap_or_default();
                    if first.parse::<usize>().is_err()
                        && let Err(names) = input.element().member(first)
                    {
                        return Err(unknown("member", first, names));
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn operation(&mut self, kind: BinOpKind, left: &Expr<'_>, right: &Expr<'_>, is_result: bool) -> Checked {
        let chooses = matches!(kind, BinOpKind::ScAnd | BinOpKind::ScOr);
        let (a, b) = (self.walk(left, false)?, self.walk(right, chooses && is_result)?);
        match kind {
            BinOpKind::Concat => {
                if let Some((operand, shape)) =
                    [(left, a), (right, b)].into_iter().find(|(_, shape)| is_no_text(*shape))
                {
                    let what = format!("`~` joins texts, and {} is {}", describe(operand), shape.describe());
                    let fix = "write the value in a template of its own, such as `{{ a }}/{{ b }}`, or use `join`";
                    return Err(problem(what, fix));
                }
                Ok(Shape::Text)
            }
            BinOpKind::ScAnd | BinOpKind::ScOr => Ok(if a == b { a } else { Shape::Any }),
            BinOpKind::Add => Ok(if a == b { a } else { Shape::Any }),
            BinOpKind::Sub | BinOpKind::Div | BinOpKind::FloorDiv | BinOpKind::Rem | BinOpKind::Pow => {
                Ok(Shape::Number)
            }
            BinOpKind::Mul => Ok(Shape::Any),
            _ => Ok(Shape::Bool),
        }
    }

    fn call(&mut self, call: &Call<'_>) -> Checked {
        match &call.expr {
            Expr::Var(function) if engine::FUNCTIONS.contains(&function.id) => {
                self.arguments(&call.args, false)?;
                Ok(Shape::Any)
            }
            Expr::Var(function) => Err(unknown("function", function.id, engine::FUNCTIONS)),
            Expr::GetAttr(method) => {
                Err(problem(format!("the method `{}` cannot be called", method.name), "use a filter: `a | upper`"))
            }
            _ => Err(problem("a value is called like a function", "use a filter: `a | upper`")),
        }
    }

    fn arguments(&mut self, arguments: &[CallArg<'_>], is_result: bool) -> Result<(), CheckError> {
        arguments.iter().try_for_each(|argument| match argument {
            CallArg::Pos(value) | CallArg::Kwarg(_, value) | CallArg::PosSplat(value) | CallArg::KwargSplat(value) => {
                self.walk(value, is_result).map(drop)
            }
        })
    }
}

/// The engine would write `True`, or a list as Python does.
fn is_no_text(shape: Shape) -> bool {
    !matches!(shape, Shape::Any | Shape::Text | Shape::Number)
}

fn constant(value: &minijinja::Value) -> Shape {
    use minijinja::value::ValueKind;
    match value.kind() {
        ValueKind::String => Shape::Text,
        ValueKind::Number => Shape::Number,
        ValueKind::Bool => Shape::Bool,
        _ => Shape::Any,
    }
}

/// The expression, as an error names it.
fn describe(expression: &Expr<'_>) -> String {
    fn path(expression: &Expr<'_>) -> Option<String> {
        match expression {
            Expr::Var(word) => Some(word.id.to_owned()),
            Expr::GetAttr(access) => Some(format!("{}.{}", path(&access.expr)?, access.name)),
            Expr::GetItem(access) => Some(format!("{}[…]", path(&access.expr)?)),
            _ => None,
        }
    }
    path(expression).map_or_else(|| "the value".to_owned(), |path| format!("`{path}`"))
}

/// The words and members of an expression such as `answer.error`, if they may be undefined.
fn unknown_path(expression: &Expr<'_>) -> Option<String> {
    match expression {
        Expr::Var(word) => {
            Word::named(word.id).filter(|word| WordSet::UNKNOWN.has(*word)).map(|word| word.name().to_owned())
        }
        Expr::GetAttr(access) => Some(format!("{}.{}", unknown_path(&access.expr)?, access.name)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use minijinja::machinery::parse_expr;

    fn checked(text: &str, position: Position) -> Result<Uses, String> {
        let variable = |name: &str| (name == "node").then(|| WordSet::of(&[Word::Placement, Word::Pod]));
        let allowed = Allowed {
            position,
            words: position.words(),
            variable: &variable,
            variables: &["node".to_owned()],
            prepared: &[("tag".to_owned(), vec!["id".to_owned()])],
            above: &[KindAbove { name: "vm".to_owned(), reads_remote: true }],
            secrets: &["user"],
        };
        check(&parse_expr(text).unwrap(), &allowed)
            .map(|(uses, _)| uses)
            .map_err(|(what, fix)| format!("{what}; {fix}"))
    }

    #[test]
    fn words_of_an_expression_are_found() {
        let uses = |text| checked(text, Position::Body).unwrap().words;
        assert_eq!(uses("pod.name ~ cluster.id"), WordSet::of(&[Word::Pod, Word::Cluster]));
        assert_eq!(uses("vars.node"), WordSet::of(&[Word::Vars, Word::Pod, Word::Placement]));
        assert_eq!(
            uses("[1][0] if state.ready else (times.created | date('%Y'))"),
            WordSet::of(&[Word::State, Word::Times])
        );
        assert!(checked("pod.labels.app", Position::Body).unwrap().keys);
        assert!(!checked("pod.name", Position::Body).unwrap().keys);
    }

    #[test]
    fn wrong_names_are_errors_with_nearest_name() {
        for (text, error) in [
            ("pdo.name", "there is no word `pdo`; write `pod`"),
            ("pod.nmae", "`pod` has no member `nmae`; write `name`"),
            ("containers[0].imageID", "`containers[…]` has no member `imageID`; write `imageId`"),
            ("(containers | first).imag", "the value has no member `imag`; write `image`"),
            ("containers | map(attribute='imge')", "there is no member `imge`; write `image`"),
            ("containers | selectattr('rloe', 'eq', 'app')", "there is no member `rloe`; write `role`"),
            ("containers | selectattr('role', 'equalt', 'app')", "there is no test `equalt`; write `equalto`"),
            ("pod.name | uper", "there is no filter `uper`; write `upper`"),
            ("['a'] | map('uper')", "there is no filter `uper`; write `upper`"),
            ("pod is definde", "there is no test `definde`; write `defined`"),
            ("vars.nod", "there is no variable `nod`; write `node`"),
            ("prepared.tog.id", "there is no item of `prepare` `tog`; write `tag`"),
            ("prepared.tag.idd", "`prepared.tag` has no member `idd`; add `idd` to `keep` of `tag`, which has: id"),
            ("pod.name.first", "`pod.name` has no member `first`; `pod.name` is a text"),
            ("pod.name.upper()", "the method `upper` cannot be called; use a filter: `a | upper`"),
        ] {
            assert_eq!(checked(text, Position::Body), Err(error.to_owned()), "{text}");
        }
        let secret = checked("secret['usr']", Position::Login);
        assert_eq!(secret, Err("there is no secret `usr`; write `user`".to_owned()));
        assert!(checked("debug()", Position::Body).is_err() && checked("vars['no' ~ 'de']", Position::Body).is_err());
    }

    #[test]
    fn word_at_wrong_place_is_an_error() {
        for (text, position, start) in [
            (
                "pod.name",
                Position::Delete,
                "`delete` cannot use `pod`: the pod is gone when it is sent; use only change,",
            ),
            ("vars.node", Position::Find, "`find` cannot use `vars.node`, which uses `placement`: the pod is gone"),
            ("change.id", Position::Body, "`body` cannot use `change`: it changes by itself"),
            ("prepared.tag.id", Position::Id, "`id` cannot use `prepared`: it is not known when the pod is read"),
            ("id", Position::List, "`list` cannot use `id`; use only cluster, mark, omit, owner, page"),
            ("it", Position::Body, "`body` cannot use `it`"),
            ("secret.a", Position::Vars, "`vars` cannot use `secret`"),
        ] {
            let error = checked(text, position).unwrap_err();
            assert!(error.starts_with(start), "{text}: {error}");
        }
    }

    #[test]
    fn omit_is_the_whole_result() {
        for text in [
            "omit",
            "placement.node | default(omit)",
            "state.reason if state.ready else omit",
            "[1, omit, state.reason | default(omit)]",
            "{'a': placement.node | default(omit)}",
            "state.reason or omit",
        ] {
            assert!(checked(text, Position::Body).is_ok(), "{text}");
        }
        for text in ["omit ~ 'a'", "(placement.node | default(omit)) ~ 'a'", "omit | b64", "omit == 1", "not omit"] {
            assert!(checked(text, Position::Body).unwrap_err().starts_with("`omit` is part"), "{text}");
        }
    }

    #[test]
    fn concatenation_takes_texts_and_numbers() {
        assert!(checked("pod.name ~ '/' ~ 1", Position::Body).is_ok());
        for text in ["'a' ~ state.ready", "pod.name ~ placement.podIPs", "'a' ~ (1 == 1)", "'a' ~ (not 1)"] {
            assert!(checked(text, Position::Body).unwrap_err().starts_with("`~` joins texts"), "{text}");
        }
    }
}
