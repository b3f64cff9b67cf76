//! Matches of one host and path by the value that they want of a field, so that it does not matter how many there are:
//! a route for each tenant, say, told apart by `x-tenant`.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use super::matches::{FieldMatch, RouteMatch, RouteRequest, ValueMatch, header_value, query_value};
use crate::split::cookie;

/// With fewer matches trying one after the other is as fast.
pub(super) const INDEXED_MIN: usize = 8;
/// Fields by which the matches of one path are told apart. Where there are more, the rarest do not count.
const FIELDS_MAX: usize = 4;

/// The matches of one node. Each has one place here, and its position says what goes first.
#[derive(Debug)]
pub(super) struct Index {
    /// Positions of matches without a value of one of these fields, in order.
    open: Vec<u32>,
    fields: Vec<IndexedField>,
}

#[derive(Debug)]
struct IndexedField {
    part: Part,
    name: String,
    /// Positions by value, in order.
    positions: HashMap<Vec<u8>, Vec<u32>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Part {
    Header,
    Query,
    Cookie,
}

impl Index {
    /// `matches` are in order of precedence. `None`: there are few, or nothing tells them apart.
    pub(super) fn build(matches: &[&Arc<RouteMatch>]) -> Option<Index> {
        if matches.len() < INDEXED_MIN {
            return None;
        }
        let mut counts: HashMap<(Part, String), usize> = HashMap::new();
        for wanted in matches {
            values(wanted).for_each(|(part, name, _)| *counts.entry((part, name)).or_default() += 1);
        }
        let mut common: Vec<((Part, String), usize)> = counts.into_iter().collect();
        // The names make the order the same in every process.
        common.sort_by(|(a, often), (b, oftener)| (oftener, a).cmp(&(often, b)));
        common.truncate(FIELDS_MAX);
        let field = |((part, name), _)| IndexedField { part, name, positions: HashMap::new() };
        let mut index = Index { open: Vec::new(), fields: common.into_iter().map(field).collect() };
        for (position, wanted) in matches.iter().enumerate() {
            index.place(position as u32, wanted);
        }
        index.fields.retain(|field| !field.positions.is_empty());
        (!index.fields.is_empty()).then_some(index)
    }

    /// By the commonest of the fields of which the match wants a value.
    fn place(&mut self, position: u32, wanted: &RouteMatch) {
        for field in &mut self.fields {
            let of_field = values(wanted).find(|(part, name, _)| *part == field.part && *name == field.name);
            if let Some((_, _, value)) = of_field {
                field.positions.entry(value.as_bytes().to_vec()).or_default().push(position);
                return;
            }
        }
        self.open.push(position);
    }

    /// The first, in order of precedence, of those matches that may hold for which `holds` gives something.
    pub(super) fn find<T>(
        &self,
        request: &RouteRequest<'_>,
        mut holds: impl FnMut(usize) -> Option<T>,
    ) -> Option<T> {
        let mut lists: [&[u32]; FIELDS_MAX + 1] = [&[]; FIELDS_MAX + 1];
        let of_fields = self.fields.iter().map(|field| field.positions_for(request));
        let all = std::iter::once(self.open.as_slice()).chain(of_fields);
        lists.iter_mut().zip(all).for_each(|(list, positions)| *list = positions);
        loop {
            let left = lists.iter_mut().filter(|list| !list.is_empty());
            let list = left.min_by_key(|list| list.first().copied())?;
            let (first, rest) = list.split_first()?;
            let position = *first as usize;
            *list = rest;
            if let Some(found) = holds(position) {
                return Some(found);
            }
        }
    }
}

impl IndexedField {
    fn positions_for(&self, request: &RouteRequest<'_>) -> &[u32] {
        let (head, bytes) = (request.head, request.bytes);
        let value = match self.part {
            Part::Header => header_value(head, bytes, &self.name),
            Part::Query => {
                query_value(head.query.map(|query| query.of(bytes)).unwrap_or_default(), &self.name)
                    .map(Cow::Owned)
            }
            Part::Cookie => cookie(head, bytes, &self.name).map(Cow::Borrowed),
        };
        value.and_then(|value| self.positions.get(&*value)).map(Vec::as_slice).unwrap_or_default()
    }
}

/// The values that a match wants, with the fields of which it wants them. Names of headers are in lower case.
fn values(wanted: &RouteMatch) -> impl Iterator<Item = (Part, String, &str)> {
    let headers = wanted.headers.iter().map(|field| (Part::Header, field));
    let query = wanted.query.iter().map(|field| (Part::Query, field));
    let cookies = wanted.cookies.iter().map(|field| (Part::Cookie, field));
    headers.chain(query).chain(cookies).filter_map(|(part, FieldMatch { name, value })| {
        let ValueMatch::Exact(value) = value else { return None };
        let name = if part == Part::Header { name.to_ascii_lowercase() } else { name.clone() };
        Some((part, name, value.as_str()))
    })
}
