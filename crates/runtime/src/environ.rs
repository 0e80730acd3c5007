//! The environ of a request.
//!
//! What is the same for every request stands in a template that is copied; the names of variables become Python strings
//! once. Source: PEP 3333, "environ Variables"; the uwsgi variables are the CGI variables of RFC 3875.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use onebox_uwsgi::{Vars, key};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use crate::errors::ErrorStream;
use crate::file_wrapper::FileWrapper;
use crate::input::Input;
use crate::latin1;
use crate::spec::Spec;

/// How many names a thread remembers; clients can make up names, so that there must be a limit.
const REMEMBERED_NAMES: usize = 256;

/// The part of the environ that no request changes.
pub(crate) fn template(py: Python<'_>, spec: &Spec) -> PyResult<Py<PyDict>> {
    let environ = PyDict::new(py);
    // A var of this name replaces it; PEP 3333 wants it to be there.
    environ.set_item("SCRIPT_NAME", "")?;
    environ.set_item("wsgi.version", (1, 0))?;
    environ.set_item("wsgi.errors", Bound::new(py, ErrorStream::default())?)?;
    environ.set_item("wsgi.multithread", spec.threads > 1)?;
    environ.set_item("wsgi.multiprocess", spec.multiprocess)?;
    environ.set_item("wsgi.run_once", false)?;
    environ.set_item("wsgi.file_wrapper", py.get_type::<FileWrapper>())?;
    environ.set_item("wsgi.input_terminated", true)?;
    environ.set_item("wsgi.url_scheme", "http")?;
    // Each request has its own; the place is kept for it.
    environ.set_item("wsgi.input", py.None())?;
    Ok(environ.unbind())
}

/// The names of variables that one thread has seen, as Python strings.
#[derive(Default)]
pub(crate) struct Names {
    known: HashMap<Vec<u8>, Py<PyString>>,
}

impl Names {
    fn get<'py>(&mut self, py: Python<'py>, name: &[u8]) -> Bound<'py, PyString> {
        if let Some(known) = self.known.get(name) {
            return known.bind(py).clone();
        }
        let text = latin1::decode(py, name);
        if self.known.len() < REMEMBERED_NAMES {
            self.known.insert(name.to_vec(), text.clone().unbind());
        }
        text
    }
}

/// What one thread keeps of its last request for the next one: most variables are the same from request to request, so
/// that only those that differ become Python strings.
#[derive(Default)]
pub(crate) struct Environs {
    names: Names,
    /// The variables and an environ made of them, which no application has seen.
    last: Option<(Arc<Vars>, Py<PyDict>)>,
}

impl Environs {
    /// The environ for `vars`.
    pub(crate) fn build<'py>(
        &mut self,
        py: Python<'py>,
        template: &Py<PyDict>,
        vars: &Arc<Vars>,
        input: &Bound<'py, Input>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let (pattern, is_reusable) = match self.last.take() {
            Some((before, pattern)) if have_same_names(&before, vars) => {
                let pattern = pattern.into_bound(py);
                for ((name, value), (_, earlier)) in vars.iter().zip(before.iter()) {
                    if value != earlier {
                        self.set(&pattern, name, value)?;
                    }
                }
                (pattern, true)
            }
            _ => {
                let pattern = template.bind(py).copy()?;
                for (name, value) in vars.iter() {
                    self.set(&pattern, name, value)?;
                }
                (pattern, has_each_name_once(vars))
            }
        };
        let environ = pattern.copy()?;
        environ.set_item(intern!(py, "wsgi.input"), input)?;
        self.last = is_reusable.then(|| (Arc::clone(vars), pattern.unbind()));
        Ok(environ)
    }

    fn set(&mut self, environ: &Bound<'_, PyDict>, name: &[u8], value: &[u8]) -> PyResult<()> {
        if is_for_the_server(name) {
            return Ok(());
        }
        let py = environ.py();
        let text = latin1::decode(py, value);
        if name == key::REQUEST_SCHEME {
            environ.set_item(intern!(py, "wsgi.url_scheme"), &text)?;
        } else if name == key::REQUEST_URI {
            // What gunicorn calls it; applications ask for either.
            environ.set_item(intern!(py, "RAW_URI"), &text)?;
        }
        environ.set_item(self.names.get(py, name), text)
    }
}

fn have_same_names(one: &Vars, other: &Vars) -> bool {
    one.iter().map(|(name, _)| name).eq(other.iter().map(|(name, _)| name))
}

/// Of a name that comes twice the last value counts, so that a change of the first one means nothing.
fn has_each_name_once(vars: &Vars) -> bool {
    let mut seen = HashSet::new();
    vars.iter().all(|(name, _)| seen.insert(name))
}

/// `UWSGI_FILE`, `UWSGI_SCRIPT` and the like would choose what a uWSGI runs; nobody chooses that by a request. Neither
/// does a variable replace what belongs to the gateway.
fn is_for_the_server(name: &[u8]) -> bool {
    name.starts_with(b"UWSGI_") || name.starts_with(b"wsgi.")
}
