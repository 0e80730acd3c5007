//! The call of PEP 3333: environ, `application(environ, start_response)`, the iteration of what it returns, `close()`.

use std::sync::Arc;

use onebox_uwsgi::{Vars, key};
use pyo3::exceptions::{PyBrokenPipeError, PyTypeError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyTuple};

use crate::application::Application;
use crate::environ::Environs;
use crate::errors;
use crate::file_wrapper::FileWrapper;
use crate::head::type_of;
use crate::host::Incoming;
use crate::input::Input;
use crate::report;
use crate::seats::{self, DeadlineExceeded};
use crate::start_response::{Flow, StartResponse, Wanted};

/// One application, ready to be called on any thread.
pub(crate) struct Gateway {
    application: Application,
    template: Py<PyDict>,
}

impl Gateway {
    pub(crate) fn new(application: Application, template: Py<PyDict>) -> Self {
        Self { application, template }
    }

    /// Serves one request; whatever the application does, the thread can serve the next one.
    pub(crate) fn respond(&self, py: Python<'_>, environs: &mut Environs, incoming: Incoming) {
        let Incoming { vars, body, answer, .. } = incoming;
        let wanted = if vars.get(key::REQUEST_METHOD) == Some(b"HEAD") {
            Wanted::HeadOnly
        } else {
            Wanted::All
        };
        let name = Arc::clone(&self.application.name);
        let response = match Bound::new(py, StartResponse::new(answer, name, wanted)) {
            Ok(response) => response,
            Err(error) => return log_error(py, &vars, &error),
        };
        let outcome = Bound::new(py, Input::new(body))
            .and_then(|input| environs.build(py, &self.template, &vars, &input))
            .and_then(|environ| self.call(py, &vars, environ, &response));
        let Err(error) = outcome else { return };
        // Another thread of the application may be inside `write`: then the answer ends when that lets go of it.
        let Ok(mut response) = response.try_borrow_mut() else {
            return log_error(py, &vars, &error);
        };
        // What `write` raised for a client that left is no failure of the application, and of a request past its deadline
        // the watchdog has told.
        let is_told = error.is_instance_of::<DeadlineExceeded>(py);
        if !(is_told || response.client_is_gone() && error.is_instance_of::<PyBrokenPipeError>(py))
        {
            log_error(py, &vars, &error);
        }
        response.abort(py, &report::summary(py, &error));
    }

    fn call<'py>(
        &self,
        py: Python<'py>,
        vars: &Vars,
        environ: Bound<'py, PyDict>,
        response: &Bound<'py, StartResponse>,
    ) -> PyResult<()> {
        let result = self.application.callable.bind(py).call1((environ, response))?;
        let sent = self.send(py, &result, response);
        let closed = close(&result);
        if let Err(error) = closed {
            // What was sent stands, so that a failing `close` can only be told.
            log_error(py, vars, &error);
        }
        sent?;
        // After `close`, so that who has the whole answer sees what `close` did.
        response.try_borrow_mut()?.finish(py)
    }

    fn send<'py>(
        &self,
        py: Python<'py>,
        result: &Bound<'py, PyAny>,
        response: &Bound<'py, StartResponse>,
    ) -> PyResult<()> {
        if let Some(block) = single_block(result) {
            return response.try_borrow_mut()?.send_whole(py, self.bytes_of(&block)?);
        }
        if let Ok(file) = result.cast_exact::<FileWrapper>() {
            if let Some(source) = file.get().source(py)? {
                return response.try_borrow_mut()?.send_file(py, source);
            }
            loop {
                let room = response.try_borrow()?.room();
                let Some(block) = file.get().next_block(py, room)? else { break };
                if response.try_borrow_mut()?.send(py, self.bytes_of(&block)?)? == Flow::Stop {
                    break;
                }
            }
        } else {
            for block in result.try_iter()? {
                let block = block?;
                if response.try_borrow_mut()?.send(py, self.bytes_of(&block)?)? == Flow::Stop {
                    break;
                }
            }
        }
        Ok(())
    }

    fn bytes_of<'a>(&self, block: &'a Bound<'_, PyAny>) -> PyResult<&'a [u8]> {
        match block.cast::<PyBytes>() {
            Ok(bytes) => Ok(bytes.as_bytes()),
            Err(_) => Err(PyTypeError::new_err(format!(
                "{}: the body must be made of bytes: bytes expected, got {}",
                self.application.name,
                type_of(block)
            ))),
        }
    }
}

/// The only block of a body: a list or a tuple of one, or bytes themselves, which would iterate as numbers.
fn single_block<'py>(result: &Bound<'py, PyAny>) -> Option<Bound<'py, PyAny>> {
    if let Ok(list) = result.cast_exact::<PyList>() {
        return if list.len() == 1 { list.get_item(0).ok() } else { None };
    }
    if let Ok(tuple) = result.cast_exact::<PyTuple>() {
        return if tuple.len() == 1 { tuple.get_item(0).ok() } else { None };
    }
    result.cast_exact::<PyBytes>().ok().map(|bytes| bytes.clone().into_any())
}

/// Calls `close()` of what the application returned, where it has one (PEP 3333: on every path).
fn close(result: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = result.py();
    if result.cast_exact::<PyList>().is_ok() {
        return Ok(());
    }
    match result.getattr_opt(intern!(py, "close"))? {
        Some(close) => close.call0().map(drop),
        None => Ok(()),
    }
}

/// Writes the traceback of `error` to standard error, with the request in front, and notes it for the request's report.
fn log_error(py: Python<'_>, vars: &Vars, error: &PyErr) {
    seats::note_failure(py, error);
    let text = |key| vars.get(key).map(String::from_utf8_lossy).unwrap_or_default();
    let line = format!(
        "{} {} failed (request {})\n{}",
        text(key::REQUEST_METHOD),
        text(key::PATH_INFO).escape_debug(),
        text(key::REQUEST_ID),
        report::traceback(py, error)
    );
    errors::log(py, &line);
}
