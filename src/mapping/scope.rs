//! The values of words while templates are rendered.
//!
//! Scopes are layers: the words of a term, then those of a record, then those of a request or an answer. A variable is
//! evaluated in the outermost layer that has all of its words, once.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use minijinja::{
    Value,
    value::{Enumerator, Object},
};

use super::{
    vars::Vars,
    words::{Word, WordSet},
};

/// The words that a template can use, with their values. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Scope(Arc<Layer>);

struct Layer {
    own: Vec<(Word, Value)>,
    parent: Option<Arc<Self>>,
    /// The words of this layer and of the layers below it.
    words: WordSet,
    vars: Arc<Vars>,
    /// Made when a variable is used: most layers use none.
    cache: OnceLock<Box<[OnceLock<Value>]>>,
}

impl Scope {
    pub(super) fn new(vars: Arc<Vars>, words: Vec<(Word, Value)>) -> Self {
        Self::layer(vars, words, None)
    }

    /// A further layer, whose words hide those below it.
    pub(super) fn with(&self, words: Vec<(Word, Value)>) -> Self {
        Self::layer(self.0.vars.clone(), words, Some(self.0.clone()))
    }

    fn layer(vars: Arc<Vars>, own: Vec<(Word, Value)>, parent: Option<Arc<Layer>>) -> Self {
        let below = parent.as_ref().map_or(WordSet::of(&[Word::Vars]), |parent| parent.words);
        let words = own.iter().fold(below, |words, (word, _)| words.and(WordSet::of(&[*word])));
        Self(Arc::new(Layer { own, parent, words, vars, cache: OnceLock::new() }))
    }

    /// What the engine looks words up in.
    pub(super) fn value(&self) -> Value {
        Value::from_dyn_object(self.0.clone())
    }
}

impl Layer {
    fn word(&self, word: Word) -> Option<Value> {
        let mut layer = self;
        loop {
            if let Some((_, value)) = layer.own.iter().find(|(own, _)| *own == word) {
                return Some(value.clone());
            }
            layer = layer.parent.as_deref()?;
        }
    }

    fn variable(self: &Arc<Self>, name: &str) -> Option<Value> {
        let index = self.vars.index(name)?;
        let needed = self.vars.words(index);
        let mut home = self;
        while let Some(parent) = home.parent.as_ref().filter(|parent| parent.words.contains(needed)) {
            home = parent;
        }
        let evaluate = || match self.vars.evaluate(index, &Scope(home.clone())) {
            Ok(value) => value,
            // The engine reports this error when the variable is used.
            Err(error) => minijinja::Error::new(minijinja::ErrorKind::InvalidOperation, error.to_string()).into(),
        };
        let cache = home.cache.get_or_init(|| std::iter::repeat_with(OnceLock::new).take(self.vars.len()).collect());
        cache.get(index).map(|cached| cached.get_or_init(evaluate).clone())
    }
}

impl Object for Layer {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        match Word::named(key)? {
            Word::Vars => Some(Value::from_object(Variables(self.clone()))),
            word => self.word(word),
        }
    }
}

/// Without values: they may be secret.
impl fmt::Debug for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Layer({})", self.words)
    }
}

/// The word `vars`.
#[derive(Debug)]
struct Variables(Arc<Layer>);

impl Object for Variables {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.0.variable(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        self.0.variable(key)
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::NonEnumerable
    }
}
