//! Where the WSGI callable is: `package.module:attribute`, or a file.

use std::path::PathBuf;

use super::{Invalid, site_path};

/// The callable's name where none is given (PEP 3333 calls it so in its examples, and so do gunicorn and uWSGI).
pub(crate) const DEFAULT_CALLABLE: &str = "application";

/// `package.module:attribute`; the attribute is `application` where it is left out, and may be dotted or a call.
pub(crate) fn module(text: &str) -> Result<String, Invalid> {
    let (module, callable) = match text.split_once(':') {
        Some((module, callable)) => (module, callable),
        None => (text, DEFAULT_CALLABLE),
    };
    let refused = Invalid::new(format!("\"{text}\" does not name a Python module"));
    if module.contains('/') || module.ends_with(".py") {
        let dotted = module.trim_end_matches(".py").replace('/', ".");
        return Err(
            refused.hint(format!("write \"{dotted}:{callable}\", or wsgi-file = \"{module}\""))
        );
    }
    if !module.split('.').all(is_identifier) {
        return Err(refused.hint("write it so: \"package.module:attribute\""));
    }
    check_callable(callable)?;
    Ok(format!("{module}:{callable}"))
}

/// `site.wsgi` or `site.wsgi:attribute`, below the site's root.
pub(crate) fn wsgi_file(text: &str) -> Result<(PathBuf, String), Invalid> {
    let (file, callable) = text.split_once(':').unwrap_or((text, DEFAULT_CALLABLE));
    check_callable(callable)?;
    Ok((site_path(file)?, callable.to_owned()))
}

/// A dotted name, perhaps called: `app`, `site.app`, `create_app()`, `create_app("production")`.
fn check_callable(text: &str) -> Result<(), Invalid> {
    let name = match text.split_once('(') {
        Some((name, arguments)) if arguments.ends_with(')') => name,
        Some(_) => return Err(Invalid::new(format!("\"{text}\" lacks its closing parenthesis"))),
        None => text,
    };
    if name.split('.').all(is_identifier) {
        return Ok(());
    }
    Err(Invalid::new(format!("\"{text}\" does not name a callable"))
        .hint("write a name, or a call that gives the application: \"create_app()\""))
}

fn is_identifier(text: &str) -> bool {
    let mut chars = text.chars();
    let first = chars.next();
    first.is_some_and(|c| c.is_alphabetic() || c == '_')
        && chars.all(|c| c.is_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn a_module_without_a_callable_has_application() {
        assert_eq!(module("mysite.wsgi").unwrap(), "mysite.wsgi:application");
    }

    #[test]
    fn callables_may_be_dotted_or_called() {
        for text in ["a:app", "a.b:site.app", "a:create_app()", "a:create_app(\"x\", debug=False)"]
        {
            assert_eq!(module(text).unwrap(), text);
        }
    }

    #[test]
    fn what_is_not_a_module_is_refused() {
        for text in ["", ":app", "a:", "a..b", "a b", "a-b:app", "a:1x", "a:f(", "a:f()x", "a:b:c"]
        {
            assert!(module(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_file_in_place_of_a_module_is_shown_as_a_module() {
        let hint = module("mysite/wsgi.py").unwrap_err().hint.unwrap();
        assert_eq!(hint, "write \"mysite.wsgi:application\", or wsgi-file = \"mysite/wsgi.py\"");
    }

    #[test]
    fn a_file_may_name_its_callable() {
        assert_eq!(
            wsgi_file("a/site.wsgi:app").unwrap(),
            (Path::new("a/site.wsgi").into(), "app".to_owned())
        );
        assert_eq!(wsgi_file("site.wsgi").unwrap().1, "application");
        assert!(wsgi_file("../site.wsgi").is_err());
    }
}
