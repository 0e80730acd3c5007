//! Which name of a Python file is the application, and of which framework it is.
//!
//! Owns the words that frameworks use. Must not know where files lie.
//!
//! Sources: PEP 3333 (a callable of `environ, start_response`), the ASGI specification 3.0 (`scope, receive, send`), and
//! what the documentation of each framework tells its users to write.

use super::source::Source;

/// Names that an application has when nothing else tells, the best first.
const NAMES: [&str; 5] = ["application", "app", "wsgi_app", "wsgi", "server"];
/// Functions that make one.
const FACTORIES: [&str; 3] = ["create_app", "make_app", "create_application"];

/// What an application is made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framework {
    /// `Flask(…)`
    Flask,
    /// `get_wsgi_application()`
    Django,
    /// Another that speaks WSGI, or a plain callable.
    Wsgi,
    /// One that speaks ASGI; its name.
    Asgi(&'static str),
    /// Made or imported from elsewhere: the rest of the site tells.
    Unknown,
}

/// The application of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Callable {
    /// `app`, `create_app()`
    pub(super) attribute: String,
    /// What it is.
    pub(super) framework: Framework,
}

/// The application of `source`, if it has one.
pub(super) fn find(source: &Source) -> Option<Callable> {
    assigned(source)
        .or_else(|| defined(source))
        .or_else(|| factory(source))
        .or_else(|| imported(source))
}

/// What the imports of a file tell about the framework.
pub(super) fn framework_by_imports(source: &Source) -> Option<Framework> {
    if source.imports("flask") {
        return Some(Framework::Flask);
    }
    let asgi = [
        ("fastapi", "FastAPI"),
        ("starlette", "Starlette"),
        ("quart", "Quart"),
        ("litestar", "Litestar"),
        ("sanic", "Sanic"),
    ];
    asgi.into_iter()
        .find(|(package, _)| source.imports(package))
        .map(|(_, name)| Framework::Asgi(name))
}

fn assigned(source: &Source) -> Option<Callable> {
    let assignments: Vec<(&str, &str)> = source.assignments().collect();
    let named = |wanted: &str| {
        let (_, value) = assignments.iter().rev().find(|(name, _)| *name == wanted)?;
        let framework = made_by(source, value).or_else(|| {
            // A call of something unknown is taken for an application under its own full name only.
            (wanted == "application" && value.contains('(')).then_some(Framework::Unknown)
        })?;
        Some(Callable { attribute: wanted.to_owned(), framework })
    };
    NAMES.into_iter().find_map(named).or_else(|| {
        let mut flasks = assignments
            .iter()
            .filter(|(_, value)| made_by(source, value) == Some(Framework::Flask));
        flasks.next().map(|(name, _)| Callable {
            attribute: (*name).to_owned(),
            framework: Framework::Flask,
        })
    })
}

fn made_by(source: &Source, value: &str) -> Option<Framework> {
    let maker = value.split('(').next().unwrap_or_default().trim();
    if value.trim_end().ends_with(".wsgifunc()") {
        return Some(Framework::Wsgi);
    }
    if !value.contains('(') {
        // Dash keeps its Flask application in `.server`.
        return maker.ends_with(".server").then_some(Framework::Wsgi);
    }
    Some(match maker.rsplit('.').next().unwrap_or(maker) {
        "Flask" => Framework::Flask,
        "get_wsgi_application" => Framework::Django,
        "get_asgi_application" => Framework::Asgi("Django's ASGI handler"),
        "FastAPI" => Framework::Asgi("FastAPI"),
        "Starlette" => Framework::Asgi("Starlette"),
        "Quart" => Framework::Asgi("Quart"),
        "Litestar" => Framework::Asgi("Litestar"),
        "Sanic" => Framework::Asgi("Sanic"),
        "App" if maker.starts_with("falcon.asgi") => Framework::Asgi("Falcon's ASGI App"),
        "App" | "API" if source.imports("falcon") => Framework::Wsgi,
        "Bottle" | "default_app" | "make_wsgi_app" | "wsgifunc" => Framework::Wsgi,
        name if FACTORIES.contains(&name) => Framework::Unknown,
        _ => return None,
    })
}

fn defined(source: &Source) -> Option<Callable> {
    let function = source.functions().find(|function| NAMES.contains(&function.name))?;
    let parameters = function.parameters.split(',').count();
    let framework = match (function.is_async, parameters) {
        (true, _) => Framework::Asgi("an async callable"),
        (false, 2) => Framework::Wsgi,
        (false, _) => return None,
    };
    Some(Callable { attribute: function.name.to_owned(), framework })
}

fn factory(source: &Source) -> Option<Callable> {
    let function = source.functions().find(|function| FACTORIES.contains(&function.name))?;
    let framework = framework_by_imports(source).unwrap_or(Framework::Unknown);
    Some(Callable { attribute: format!("{}()", function.name), framework })
}

fn imported(source: &Source) -> Option<Callable> {
    let names: Vec<&str> = source.imported_names().map(|(_, name)| name).collect();
    let plain = NAMES.into_iter().find(|name| names.contains(name)).map(str::to_owned);
    let made =
        || FACTORIES.into_iter().find(|name| names.contains(name)).map(|name| format!("{name}()"));
    let attribute = plain.or_else(made)?;
    Some(Callable { attribute, framework: Framework::Unknown })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn applications_are_found_as_frameworks_tell_to_write_them() {
        let cases = [
            ("from flask import Flask\napp = Flask(__name__)\n", "app", Framework::Flask),
            ("import flask\nblog = flask.Flask('blog')\n", "blog", Framework::Flask),
            (
                "from flask import Flask\ndef create_app(config=None):\n    pass\n",
                "create_app()",
                Framework::Flask,
            ),
            ("from shop import create_app\napp = create_app()\n", "app", Framework::Unknown),
            ("from shop import create_app\n", "create_app()", Framework::Unknown),
            ("from shop import app as application\n", "application", Framework::Unknown),
            ("application = get_wsgi_application()\n", "application", Framework::Django),
            (
                "application = get_asgi_application()\n",
                "application",
                Framework::Asgi("Django's ASGI handler"),
            ),
            (
                "def application(environ, start_response):\n    pass\n",
                "application",
                Framework::Wsgi,
            ),
            (
                "async def app(scope, receive, send):\n    pass\n",
                "app",
                Framework::Asgi("an async callable"),
            ),
            ("app = FastAPI(title='x')\n", "app", Framework::Asgi("FastAPI")),
            (
                "app = web.application(urls, globals())\napplication = app.wsgifunc()\n",
                "application",
                Framework::Wsgi,
            ),
            ("app = bottle.default_app()\n", "app", Framework::Wsgi),
            ("import falcon\napp = falcon.App()\n", "app", Framework::Wsgi),
            ("import dash\napp = dash.Dash()\nserver = app.server\n", "server", Framework::Wsgi),
            ("application = Application('x')\n", "application", Framework::Unknown),
            ("application = DavApp(\n    {'/': 'files'}\n)\n", "application", Framework::Unknown),
        ];
        for (text, attribute, framework) in cases {
            let found = find(&Source::parse(text));
            let expected = Callable { attribute: attribute.to_owned(), framework };
            assert_eq!(found, Some(expected), "{text}");
        }
        assert_eq!(cases.len(), 17);
    }

    #[test]
    fn what_is_no_application_is_not_taken_for_one() {
        for text in
            ["app = typer.Typer()\n", "import app\n", "def app():\n    pass\n", "application = 3\n"]
        {
            assert_eq!(find(&Source::parse(text)), None, "{text}");
        }
    }
}
