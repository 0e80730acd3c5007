//! `onebox user`: who may log in to the dashboard, and what they may do there.

use http::Method;
use onebox_supervisor::api::{NewPassword, NewUser, PasswordChange, RoleChange, User};
use serde::de::IgnoredAny;

use super::hash_password::read_password;
use crate::cli::UserAction;
use crate::client::{Client, segment};
use crate::print::{self, clock, done, style, table::Columns};
use crate::report::Failure;

const USERS: &str = "/api/v1/users";

/// Does what is asked for.
pub(crate) async fn user(client: &Client, action: UserAction) -> Result<(), Failure> {
    match action {
        UserAction::List { json } => list(client, json).await,
        UserAction::Add { name, role, password_stdin, json } => {
            let password = given(password_stdin)?;
            let user = NewUser { name, role, password };
            show_new(&client.call(Method::POST, USERS, Some(&user)).await?, json)
        }
        UserAction::Role { name, role } => {
            let change = RoleChange { role };
            client.call::<IgnoredAny>(Method::PATCH, &path(&name), Some(&change)).await?;
            done(&format!("{name} is {role} now"));
            Ok(())
        }
        UserAction::Password { name, password_stdin, json } => {
            let change = PasswordChange { password: given(password_stdin)? };
            let path = format!("{}/password", path(&name));
            show_new(&client.call(Method::POST, &path, Some(&change)).await?, json)
        }
        UserAction::Rm { name } => {
            client.call::<IgnoredAny>(Method::DELETE, &path(&name), None::<&()>).await?;
            done(&format!("{name} is removed, with all sessions and tokens"));
            Ok(())
        }
    }
}

fn given(password_stdin: bool) -> Result<Option<String>, Failure> {
    password_stdin.then(read_password).transpose()
}

/// Says what to log in with.
pub(super) fn show_new(new: &NewPassword, json: bool) -> Result<(), Failure> {
    if json {
        return print::json(new);
    }
    match &new.password {
        Some(password) => anstream::println!(
            "log in as {} with the password {}  {}",
            style::strong(&new.user),
            style::strong(password),
            style::faint("(shown only this once)")
        ),
        None => done(&format!("{} has a new password", new.user)),
    }
    Ok(())
}

async fn list(client: &Client, json: bool) -> Result<(), Failure> {
    let users: Vec<User> = client.get(USERS).await?;
    if json {
        return print::json(&users);
    }
    let mut table = Columns::new(&["user", "role", "since", "logins"]);
    for user in &users {
        let since = clock::day(user.created_ms);
        table.row([user.name.clone(), user.role.to_string(), since, user.sessions.to_string()]);
    }
    anstream::println!("{}", table.render());
    Ok(())
}

fn path(name: &str) -> String {
    format!("{USERS}/{}", segment(name))
}
