//! From the texts and trees of a file to templates.

use minijinja::{
    machinery::{Token, parse_expr, tokenize},
    syntax::SyntaxConfig,
};
use serde_json::Value as Json;

use super::{Compiler, Each, KindWords, Leaf, MapTemplate, Part, Template};
use crate::mapping::{
    check::{self, Allowed, Uses},
    engine::{self, Compiled},
    members::instead,
    place::Place,
    spec::values::{TemplateText, TemplateTree},
    tree::{Key, Node, Tree},
    values,
    words::{Position, Word, WordSet},
};

/// The names of a tree that make a list or a map of several elements.
const EACH: [&str; 3] = ["$each", "$key", "$value"];

impl Compiler<'_> {
    pub(in crate::mapping) fn fail(&mut self, place: &Place, what: impl Into<String>, fix: impl Into<String>) {
        self.errors.push(place.error(what, fix));
    }

    /// Compiles the templates of one kind.
    pub(in crate::mapping) fn of_kind<'a>(&'a mut self, kind: KindWords<'a>) -> Compiler<'a> {
        let Self { vars, variables, prepared, kind: _, errors } = self;
        Compiler { vars, variables, prepared, kind, errors }
    }

    /// Compiles the templates of a step of `prepare`, which can use these.
    pub(in crate::mapping) fn with_prepared<'a>(&'a mut self, prepared: &'a [(String, Vec<String>)]) -> Compiler<'a> {
        let Self { vars, variables, prepared: _, kind, errors } = self;
        Compiler { vars, variables, prepared, kind: *kind, errors }
    }

    /// The words that templates at this position may use.
    pub(in crate::mapping) fn words(&self, position: Position) -> WordSet {
        position.words().without(self.kind.lacking)
    }

    pub(in crate::mapping) fn leaf(&mut self, position: Position, spec: &TemplateText) -> Option<Leaf> {
        self.text(position, self.words(position), &spec.place, &spec.text)
    }

    /// A template that has to be exactly one expression.
    pub(in crate::mapping) fn condition(&mut self, position: Position, spec: &TemplateText) -> Option<Leaf> {
        let words = self.words(position).without(WordSet::of(&[Word::Omit]));
        let leaf = self.text(position, words, &spec.place, &spec.text)?;
        if !leaf.is_expression() {
            self.fail(
                &spec.place,
                "the condition is not one template",
                "write `{{ CONDITION }}`, without text around it",
            );
            return None;
        }
        Some(leaf)
    }

    pub(in crate::mapping) fn tree(&mut self, position: Position, spec: &TemplateTree) -> Option<Template> {
        self.template(position, self.words(position), &spec.0)
    }

    pub(in crate::mapping) fn text(
        &mut self,
        position: Position,
        words: WordSet,
        place: &Place,
        text: &str,
    ) -> Option<Leaf> {
        let parts = match split(text) {
            Ok(parts) => parts,
            Err((what, fix)) => {
                self.fail(place, what, fix);
                return None;
            }
        };
        let names_identity = |text: &str| WordSet::IDENTITY.words().any(|word| word.name() == text.trim());
        let is_identity = matches!(parts.as_slice(), [Piece::Expression(text)] if names_identity(text));
        let mut leaf = Leaf { place: place.clone(), parts: Vec::new(), uses: Uses::default(), is_identity };
        for part in parts {
            match part {
                Piece::Text(text) => leaf.parts.push(Part::Text(text.to_owned())),
                Piece::Expression(expression) => {
                    let (compiled, uses) = self.expression(position, words, place, expression)?;
                    leaf.parts.push(Part::Expression(compiled));
                    leaf.uses = leaf.uses.and(uses);
                }
            }
        }
        Some(leaf)
    }

    fn expression(
        &mut self,
        position: Position,
        words: WordSet,
        place: &Place,
        text: &str,
    ) -> Option<(Compiled, Uses)> {
        let shown = values::shorten(text.trim(), 60);
        let place = &place.of_part(text);
        if engine::is_too_long(text) {
            let fix = "split it, with `vars` for its parts";
            self.fail(place, format!("the template `{{{{ {shown} }}}}` is too long"), fix);
            return None;
        }
        let vars = self.vars;
        let variable = |name: &str| vars.index(name).map(|index| vars.words(index));
        let (variables, prepared, above) = (self.variables, self.prepared, self.kind.above);
        let secrets = self.kind.secrets;
        let allowed = Allowed { position, words, variable: &variable, variables, prepared, above, secrets };
        let parsed = parse_expr(text).and_then(|parsed| Ok((check::check(&parsed, &allowed), Compiled::new(text)?)));
        match parsed {
            Ok((Ok((uses, members)), compiled)) => return Some((compiled.with_members(members), uses)),
            Ok((Err((what, fix)), _)) => self.fail(place, format!("{what}, in `{{{{ {shown} }}}}`"), fix),
            Err(error) => {
                let what = error.detail().unwrap_or("it cannot be parsed").to_owned();
                self.fail(
                    place,
                    format!("the template `{{{{ {shown} }}}}` is wrong: {what}"),
                    "correct the expression",
                );
            }
        }
        None
    }

    fn template(&mut self, position: Position, words: WordSet, tree: &Tree) -> Option<Template> {
        match &tree.node {
            Node::Null => {
                self.fail(&tree.place, "the value is null, which is never sent", "remove the member");
                None
            }
            Node::Bool(_) | Node::Number(_) => Some(Template::Constant(tree.to_json())),
            Node::Text(text) => {
                let leaf = self.text(position, words, &tree.place, text)?;
                Some(match leaf.constant() {
                    Some(text) => Template::Constant(Json::String(text.to_owned())),
                    None => Template::Leaf(leaf),
                })
            }
            Node::List(items) => {
                let items: Vec<Option<Template>> =
                    items.iter().map(|item| self.template(position, words, item)).collect();
                let items: Vec<Template> = items.into_iter().collect::<Option<_>>()?;
                let uses = items.iter().fold(Uses::default(), |uses, item| uses.and(item.uses()));
                Some(constant(items.iter()).map_or(Template::List(items, uses), |list| Template::Constant(list.into())))
            }
            Node::Map(entries) => self.map(position, words, tree, entries),
        }
    }

    fn map(&mut self, position: Position, words: WordSet, tree: &Tree, entries: &[(Key, Tree)]) -> Option<Template> {
        let mut members = Vec::with_capacity(entries.len());
        for (key, value) in entries.iter().filter(|(key, _)| !EACH.contains(&key.text.as_str())) {
            if key.text.contains("{{") {
                self.fail(&key.place, "the name of a member is a template", "use `$each`, `$key` and `$value`");
                return None;
            }
            members.push((key.text.clone(), self.template(position, words, value)));
        }
        let each = self.each(position, words, tree)?;
        let members: Option<Vec<(String, Template)>> =
            members.into_iter().map(|(name, member)| Some((name, member?))).collect();
        let members = members?;
        if let Some(each) = each.as_ref().filter(|each| each.key.is_none() && !members.is_empty()) {
            let place = each.items.place().clone();
            self.fail(&place, "`$each` without `$key` makes a list, and the map has other members", "add `$key`");
            return None;
        }
        if each.is_none()
            && let Some(values) = constant(members.iter().map(|(_, member)| member))
        {
            let names = members.into_iter().map(|(name, _)| name);
            return Some(Template::Constant(Json::Object(names.zip(values).collect())));
        }
        let uses = members.iter().fold(Uses::default(), |uses, (_, member)| uses.and(member.uses()));
        let uses = each.as_ref().map_or(uses, |each| uses.and(each.uses()));
        Some(Template::Map(Box::new(MapTemplate { members, each, uses })))
    }

    /// `Some(None)` if the map has no `$each`.
    #[allow(clippy::option_option, reason = "the outer one says whether the templates are correct")]
    fn each(&mut self, position: Position, words: WordSet, tree: &Tree) -> Option<Option<Each>> {
        let [items, key, value] = EACH.map(|name| tree.get(name));
        let (items, value) = match (items, value) {
            (None, None) if key.is_none() => return Some(None),
            (Some(items), Some(value)) => (items, value),
            _ => {
                let is_wrong = |key: &Key| key.text.starts_with('$') && !EACH.contains(&key.text.as_str());
                let wrong = if let Node::Map(entries) = &tree.node { entries.as_slice() } else { &[] };
                match wrong.iter().map(|(key, _)| key).find(|key| is_wrong(key)) {
                    Some(key) => {
                        let missing: Vec<&str> = EACH.into_iter().filter(|name| tree.get(name).is_none()).collect();
                        self.fail(&key.place, format!("there is no `{}`", key.text), instead(&key.text, &missing));
                    }
                    None => {
                        let fix = "write both, and `$key` for a map";
                        self.fail(&tree.place, "`$each` and `$value` belong together", fix);
                    }
                }
                return None;
            }
        };
        let inner = words.and(WordSet::of(&[Word::It]));
        let no_omit = words.without(WordSet::of(&[Word::Omit]));
        let source = match items.text() {
            // What is wrong with a template is reported once.
            Some(text) => Some(self.text(position, no_omit, &items.place, text)?),
            None => None,
        };
        let value = self.template(position, inner, value);
        let key = match key.map(|key| (key, key.text())) {
            None => None,
            Some((key, Some(text))) => Some(self.text(position, inner, &key.place, text)?),
            Some((key, None)) => {
                self.fail(&key.place, "`$key` is not a text", "write a template, such as `{{ it }}`");
                return None;
            }
        };
        let source = source.filter(Leaf::is_expression);
        if source.is_none() {
            self.fail(&items.place, "`$each` is not one template", "write an expression whose value is a list");
        }
        Some(Some(Each { items: source?, key, value: value? }))
    }
}

fn constant<'t>(templates: impl Iterator<Item = &'t Template>) -> Option<Vec<Json>> {
    templates.map(|template| if let Template::Constant(json) = template { Some(json.clone()) } else { None }).collect()
}

enum Piece<'t> {
    Text(&'t str),
    Expression(&'t str),
}

/// Splits a text into literal parts and expressions.
fn split(text: &str) -> Result<Vec<Piece<'_>>, check::CheckError> {
    if !text.contains("{{") && !text.contains("{%") && !text.contains("{#") {
        return Ok(if text.is_empty() { Vec::new() } else { vec![Piece::Text(text)] });
    }
    let syntax = SyntaxConfig::builder().keep_trailing_newline(true).build().unwrap_or_default();
    let (mut pieces, mut start) = (Vec::new(), None);
    for token in tokenize(text, false, syntax) {
        let (token, span) = token.map_err(|error| {
            let what = format!("the template is wrong: {}", error.detail().unwrap_or("it cannot be parsed"));
            (what, "correct it".to_owned())
        })?;
        match token {
            Token::TemplateData(data) => pieces.push(Piece::Text(data)),
            Token::VariableStart => start = Some(span.end_offset as usize),
            Token::VariableEnd => {
                let end = span.start_offset as usize;
                pieces.push(Piece::Expression(start.take().and_then(|start| text.get(start..end)).unwrap_or_default()));
            }
            Token::BlockStart => {
                let fix = "write expressions, such as `{{ a if b else c }}` and `{{ list | join(', ') }}`";
                return Err(("statements such as {% if %} are not supported".to_owned(), fix.to_owned()));
            }
            _ => {}
        }
    }
    if start.is_some() {
        return Err(("the template does not end".to_owned(), "add `}}`".to_owned()));
    }
    Ok(pieces)
}
