//! Where the configuration of the box comes from: the folders, the environment, the user.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::types::Families;
use crate::value::{Item, Table, Value};
use crate::{BoxFlags, Origin, Problem};

/// Variables that are flags of the command line as well, and the key each one stands for.
const SHORT_VARIABLES: [(&str, [&str; 2]); 3] = [
    ("ONEBOX_HTTP", ["listen", "http"]),
    ("ONEBOX_HTTPS", ["listen", "https"]),
    ("ONEBOX_ADMIN", ["listen", "admin"]),
];

/// What the process finds around it; a test makes its own.
#[derive(Debug, Clone)]
pub(super) struct Surroundings {
    pub(super) variables: BTreeMap<String, String>,
    pub(super) user: User,
    pub(super) families: Families,
}

/// Whose appliance it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum User {
    Root,
    Other,
}

impl Surroundings {
    pub(super) fn of_this_process() -> Self {
        let variables = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        let root = rustix::process::geteuid().is_root();
        Self {
            variables: variables.collect(),
            user: if root { User::Root } else { User::Other },
            families: Families::of_this_machine(),
        }
    }

    /// `--state-dir`, else `ONEBOX_STATE_DIR`, else the system's or the user's own folder.
    pub(super) fn state_dir(&self, flags: &BoxFlags) -> Result<PathBuf, Problem> {
        self.folder(flags.state_dir.as_deref(), "ONEBOX_STATE_DIR", &Home::STATE)
    }

    /// The flag, else `ONEBOX_CONFIG_DIR`, else the system's or the user's own folder.
    pub(super) fn config_dir(&self, flags: &BoxFlags) -> Result<PathBuf, Problem> {
        self.folder(flags.config_dir.as_deref(), "ONEBOX_CONFIG_DIR", &Home::CONFIG)
    }

    /// A variable's value; an empty one counts as not set (XDG Base Directory Specification says so, too).
    fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    fn folder(&self, flag: Option<&Path>, variable: &str, home: &Home) -> Result<PathBuf, Problem> {
        if let Some(given) = flag.or_else(|| self.variable(variable).map(Path::new)) {
            // The working directory may change later; the folder must not.
            return std::path::absolute(given).map_err(|error| Problem {
                key: String::new(),
                origin: Origin::Variable(variable.to_owned()),
                message: format!("\"{}\" is not a folder: {error}", given.display()),
                hint: None,
            });
        }
        if self.user == User::Root {
            return Ok(PathBuf::from(home.of_root));
        }
        // Relative paths in XDG variables are to be ignored.
        let xdg = self.variable(home.xdg_variable).map(Path::new).filter(|path| path.is_absolute());
        let base = match (xdg, self.variable("HOME")) {
            (Some(base), _) => base.to_owned(),
            (None, Some(user_home)) => Path::new(user_home).join(home.below_home),
            (None, None) => {
                return Err(Problem {
                    key: String::new(),
                    origin: Origin::System,
                    message: format!(
                        "neither {variable} nor HOME says where onebox may keep its files"
                    ),
                    hint: Some(format!("set {variable}")),
                });
            }
        };
        Ok(base.join("onebox"))
    }

    /// The settings in `ONEBOX_*` variables: every `ONEBOX_SECTION__KEY`, and the short ones. Other variables with
    /// that beginning are not settings. Values stay texts: what `8080` means is for the key to say.
    pub(super) fn settings(&self) -> Table {
        let mut table = Table::new();
        for (name, value) in &self.variables {
            let Some((section, key)) =
                name.strip_prefix("ONEBOX_").and_then(|name| name.split_once("__"))
            else {
                continue;
            };
            let spelt = |part: &str| part.to_ascii_lowercase().replace('_', "-");
            let origin = Origin::Variable(name.clone());
            insert(&mut table, [&spelt(section), &spelt(key)], value, origin);
        }
        for (name, key) in SHORT_VARIABLES {
            if let Some(value) = self.variable(name) {
                insert(&mut table, key, value, Origin::Variable(name.to_owned()));
            }
        }
        table
    }
}

/// The settings in flags.
pub(super) fn flag_settings(flags: &BoxFlags) -> Table {
    let mut table = Table::new();
    let given = [
        ("--http", "http", &flags.http),
        ("--https", "https", &flags.https),
        ("--admin", "admin", &flags.admin),
    ];
    for (flag, key, value) in given {
        if let Some(value) = value {
            insert(&mut table, ["listen", key], value, Origin::Flag(flag.to_owned()));
        }
    }
    table
}

fn insert(table: &mut Table, [section, key]: [&str; 2], value: &str, origin: Origin) {
    let empty = || Item { value: Value::Table(Table::new()), origin: origin.clone() };
    let entry = table.entry(section.to_owned()).or_insert_with(empty);
    if let Value::Table(keys) = &mut entry.value {
        keys.insert(key.to_owned(), Item { value: Value::Text(value.to_owned()), origin });
    }
}

/// A kind of folder by the XDG Base Directory Specification, and root's.
struct Home {
    of_root: &'static str,
    xdg_variable: &'static str,
    below_home: &'static str,
}

impl Home {
    const STATE: Self = Self {
        of_root: "/var/lib/onebox",
        xdg_variable: "XDG_STATE_HOME",
        below_home: ".local/state",
    };
    const CONFIG: Self =
        Self { of_root: "/etc/onebox", xdg_variable: "XDG_CONFIG_HOME", below_home: ".config" };
}
