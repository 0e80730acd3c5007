//! A setting as the user gave it, with the place where it was given.

use std::collections::BTreeMap;

use crate::Origin;

/// Settings by key.
pub(crate) type Table = BTreeMap<String, Item>;

/// One setting.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Item {
    pub(crate) value: Value,
    pub(crate) origin: Origin,
}

/// What a setting may be. Numbers that are not whole and dates are kept as their text, for messages: no key takes them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Text(String),
    Integer(i64),
    Float(String),
    Bool(bool),
    Date(String),
    List(Vec<Item>),
    Table(Table),
}

impl Value {
    /// What it is, for messages.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "a text",
            Self::Integer(_) => "a number",
            Self::Float(_) => "a decimal number",
            Self::Bool(_) => "true or false",
            Self::Date(_) => "a date",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
        }
    }

    /// The text that a number, a date, `true` or `false` would be in quotes.
    pub(crate) fn scalar_text(&self) -> Option<String> {
        match self {
            Self::Text(text) | Self::Float(text) | Self::Date(text) => Some(text.clone()),
            Self::Integer(number) => Some(number.to_string()),
            Self::Bool(truth) => Some(truth.to_string()),
            Self::List(_) | Self::Table(_) => None,
        }
    }
}
