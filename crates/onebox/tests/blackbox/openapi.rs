//! The API is what its own document says: schemathesis makes requests of it, right ones and wrong ones.

use std::path::Path;
use std::process::Command;

use crate::harness::{SiteFolder, TestBox, environment_of, run};

/// What schemathesis must not do: it would wait for the end of a stream, the appliance would end, or its own token be worth nothing.
const LEFT_OUT: [&str; 6] =
    ["events", "logs", "shutdown", "change-role", "remove-user", "revoke-token"];
/// What is looked at in each answer: no 5xx, and nothing that the document does not say.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance";

#[test]
fn every_answer_of_the_api_is_one_that_its_document_knows() {
    let environment = environment_of("schemathesis");
    let appliance = TestBox::start();
    appliance.deploy(SiteFolder::fixture("static-only").path()).ok();
    let scopes = ["metrics", "read", "deploy", "operate", "admin"].map(|scope| ["--scope", scope]);
    let mut arguments = vec!["token", "create", "schemathesis", "--json"];
    arguments.extend(scopes.iter().flatten());
    let token = appliance.cli(&arguments).ok().json();
    let hooks =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/clients/schemathesis_hooks.py");
    let mut program = Command::new(environment.join("bin/schemathesis"));
    program
        .arg("run")
        .arg(format!("http://{}/api/v1/openapi.json", appliance.admin.unwrap()))
        .args(["--header", &format!("Authorization:Bearer {}", token["token"].as_str().unwrap())])
        .args(["--phases", "examples,coverage,fuzzing", "--checks", CHECKS])
        .args(["--max-examples", "10", "--generation-deterministic"])
        .args(["--no-shrink", "--no-color"])
        .args(["--request-timeout", "30", "--suppress-health-check", "all", "--warnings", "off"])
        .env("SCHEMATHESIS_HOOKS", hooks)
        .current_dir(appliance.state());
    for operation in LEFT_OUT {
        program.args(["--exclude-operation-id", operation]);
    }
    let told = run(program).ok();
    let all = !told.stdout.contains(" 0 passed") && told.stdout.contains(" passed");
    assert!(all, "{}", told.all());
    assert_eq!(appliance.status()["engine"]["crashes"], 0);
}
