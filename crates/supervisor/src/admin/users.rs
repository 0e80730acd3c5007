//! Users: who they are, and what they may do.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;

use super::audit::Detail;
use super::{AdminError, AdminState};
use crate::api::{NewPassword, NewUser, PasswordChange, RoleChange, User};

/// Longer names of users and tokens are none.
const LONGEST_NAME: usize = 63;
/// Whom the audit log calls so.
const CONTROL_SOCKET: &str = "cli";

/// Every user, by name
#[utoipa::path(get, path = "/api/v1/users", operation_id = "users",
    responses((status = OK, body = Vec<User>)))]
pub(super) async fn users(State(state): State<AdminState>) -> Result<Json<Vec<User>>, AdminError> {
    Ok(Json(state.appliance.store.users().await?))
}

/// Add a user
///
/// A password that is made up is in the answer and nowhere else.
#[utoipa::path(post, path = "/api/v1/users", operation_id = "add-user", request_body = NewUser,
    responses((status = CREATED, body = NewPassword)))]
pub(super) async fn add_user(
    State(state): State<AdminState>,
    body: Result<Json<NewUser>, JsonRejection>,
) -> Result<(StatusCode, Extension<Detail>, Json<NewPassword>), AdminError> {
    let Json(NewUser { name, role, password }) = body?;
    state.check_accounts()?;
    check_name(&name)?;
    let (hash, password) = state.hashing.hash(password).await?;
    state.appliance.store.add_user(&name, role, &hash).await?;
    let detail = Extension(Detail(format!("{name}, {role}")));
    Ok((StatusCode::CREATED, detail, Json(NewPassword { user: name, password })))
}

/// Give a user another role
///
/// One user stays an admin.
#[utoipa::path(patch, path = "/api/v1/users/{user}", operation_id = "change-role",
    request_body = RoleChange, responses((status = NO_CONTENT)))]
pub(super) async fn change_role(
    State(state): State<AdminState>,
    Path(user): Path<String>,
    body: Result<Json<RoleChange>, JsonRejection>,
) -> Result<(StatusCode, Extension<Detail>), AdminError> {
    let Json(RoleChange { role }) = body?;
    state.appliance.store.set_role(&user, role).await?;
    Ok((StatusCode::NO_CONTENT, Extension(Detail(role.to_string()))))
}

/// Give a user a new password
///
/// Every session of the user ends.
#[utoipa::path(post, path = "/api/v1/users/{user}/password", operation_id = "change-password",
    request_body = PasswordChange, responses((status = OK, body = NewPassword)))]
pub(super) async fn change_password(
    State(state): State<AdminState>,
    Path(user): Path<String>,
    body: Result<Json<PasswordChange>, JsonRejection>,
) -> Result<Json<NewPassword>, AdminError> {
    let Json(PasswordChange { password }) = body?;
    let (hash, password) = state.hashing.hash(password).await?;
    state.appliance.store.set_password(&user, &hash, None).await?;
    Ok(Json(NewPassword { user, password }))
}

/// Remove a user
///
/// With all sessions and tokens. One user stays an admin.
#[utoipa::path(delete, path = "/api/v1/users/{user}", operation_id = "remove-user",
    responses((status = NO_CONTENT)))]
pub(super) async fn remove_user(
    State(state): State<AdminState>,
    Path(user): Path<String>,
) -> Result<StatusCode, AdminError> {
    state.appliance.store.remove_user(&user).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// # Errors
/// Where this is no name for a user or token.
pub(super) fn check_name(name: &str) -> Result<(), AdminError> {
    let is_inside =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
    let is_name = name.len() <= LONGEST_NAME
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(is_inside);
    match is_name {
        true if name == CONTROL_SOCKET => Err(AdminError::Malformed(format!(
            "the audit log calls whoever comes over the control socket \"{CONTROL_SOCKET}\": take another name"
        ))),
        true => Ok(()),
        false => Err(AdminError::Malformed(format!(
            "{name:?} is no name: it begins with a letter of a-z and has up to {LONGEST_NAME} of a-z, 0-9, \".\", \"_\", \"-\""
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain() {
        for name in ["a", "vera", "ci-2", "vera.k_1", &"a".repeat(63)] {
            check_name(name).unwrap();
        }
        for wrong in ["", "1a", "-a", "Vera", "a b", "a/b", "ü", "cli", &"a".repeat(64)] {
            check_name(wrong).unwrap_err();
        }
    }
}
