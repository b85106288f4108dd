//! Variables: named templates.

use std::collections::HashMap;

use minijinja::Value;

use super::{
    place,
    scope::Scope,
    spec::values::{Entries, TemplateTree},
    template::{Compiler, KindWords, RenderError, Template},
    tree::{Key, Node, Tree},
    words::{Position, WordSet},
};

/// Variables of a target. Each is compared with all others to find their order.
const VARIABLES: usize = 200;
/// Variables that use one another, in a chain. Each takes some levels of the stack.
const CHAIN: usize = 40;

/// The compiled variables of a target.
#[derive(Debug, Default)]
pub(super) struct Vars {
    names: HashMap<String, usize>,
    templates: Vec<(Template, WordSet)>,
}

impl Vars {
    /// Compiles each variable after those that it uses. Reports those in a circle.
    pub(super) fn compile(
        spec: &Entries<TemplateTree>,
        prepared: &[(String, Vec<String>)],
        errors: &mut Vec<place::Error>,
    ) -> Self {
        let mut vars = Self::default();
        if let Some((excess, _)) = spec.get(VARIABLES) {
            let what = format!("there are more than {VARIABLES} variables");
            errors.push(excess.place.error(what, "write some of them where they are used"));
            spec.iter().for_each(|(key, _)| vars.add(key, Template::Constant(false.into())));
            return vars;
        }
        let mut chains: HashMap<&str, usize> = HashMap::new();
        let all: Vec<String> = spec.iter().map(|(key, _)| key.text.clone()).collect();
        let mut left: Vec<&(Key, TemplateTree)> = spec.iter().collect();
        while let Some((first, _)) = left.first() {
            let ready = left.iter().position(|(_, tree)| !left.iter().any(|(key, _)| mentions(&tree.0, &key.text)));
            let Some(ready) = ready else {
                let what = format!("the variable `{}` uses itself, or one that does", first.text);
                errors.push(first.place.error(what, "remove the circle"));
                left.into_iter().for_each(|(key, _)| vars.add(key, Template::Constant(false.into())));
                return vars;
            };
            let next = left.remove(ready);
            let (key, tree) = next;
            let used = chains.iter().filter(|(name, _)| mentions(&tree.0, name)).map(|(_, chain)| *chain);
            let chain = used.max().unwrap_or_default() + 1;
            if chain > CHAIN {
                let what = format!("the variable `{}` ends a chain of more than {CHAIN} variables", key.text);
                errors.push(key.place.error(what, "join some of them"));
                left.into_iter().chain([next]).for_each(|(key, _)| vars.add(key, Template::Constant(false.into())));
                return vars;
            }
            chains.insert(&key.text, chain);
            // Whether a kind has `each` is checked where the variable is used.
            let kind = KindWords { lacking: WordSet::NONE, above: &[], secrets: &[] };
            let mut compiler = Compiler { vars: &vars, variables: &all, prepared, kind, errors };
            // A wrong variable exists, so that only one error is reported.
            let template = compiler.tree(Position::Vars, tree).unwrap_or(Template::Constant(false.into()));
            vars.add(key, template);
        }
        vars
    }

    fn add(&mut self, key: &Key, template: Template) {
        let words = template.uses().words;
        self.names.insert(key.text.clone(), self.templates.len());
        self.templates.push((template, words));
    }

    pub(super) fn len(&self) -> usize {
        self.templates.len()
    }

    pub(super) fn index(&self, name: &str) -> Option<usize> {
        self.names.get(name).copied()
    }

    pub(super) fn words(&self, index: usize) -> WordSet {
        self.templates.get(index).map_or(WordSet::NONE, |(_, words)| *words)
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.names.keys().cloned().collect()
    }

    pub(super) fn evaluate(&self, index: usize, scope: &Scope) -> Result<Value, RenderError> {
        self.templates.get(index).map_or(Ok(Value::UNDEFINED), |(template, _)| template.evaluate(scope))
    }
}

/// Whether a text of the tree uses a variable.
fn mentions(tree: &Tree, name: &str) -> bool {
    match &tree.node {
        Node::Text(text) => text.match_indices("vars").any(|(at, word)| {
            let rest = text[at + word.len()..].trim_start_matches([' ', '.', '[', '\'', '"']);
            let is_name = |c: char| c.is_alphanumeric() || c == '_';
            rest.strip_prefix(name).is_some_and(|after| !after.starts_with(is_name))
        }),
        Node::List(items) => items.iter().any(|item| mentions(item, name)),
        Node::Map(entries) => entries.iter().any(|(_, value)| mentions(value, name)),
        _ => false,
    }
}
