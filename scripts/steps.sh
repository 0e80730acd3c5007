# Sourced by the other scripts: named steps, what they took, and how they ended. A step that fails does not keep the others
# from running; `summary` ends the script with the verdict.

results=()
outputs=
verdict=0

# step NAME COMMAND...: runs it, shows its output, remembers how it ended.
step() {
  local name=$1 began=$SECONDS outcome
  shift
  [ -n "$outputs" ] || outputs=$(mktemp -d)
  printf '\n== %s\n' "$name"
  if "$@" 2>&1 | tee "$outputs/${name// /-}.txt"; then
    outcome='ok'
  else
    outcome='FAILED'
    verdict=1
  fi
  results+=("$(printf '%-7s %5ds  %s' "$outcome" $((SECONDS - began)) "$name")")
}

# skip NAME REASON: a step that can't run here. Never silent.
skip() {
  printf '\n== %s\nskipped: %s\n' "$1" "$2"
  results+=("$(printf '%-7s %5s   %s: %s' skipped - "$1" "$2")")
}

# have COMMAND...: whether every one of them is there.
have() {
  local command
  for command in "$@"; do
    command -v "$command" > /dev/null || return 1
  done
}

# have_node: whether Node is there, new enough for the web UI's tools (its package.json says the same).
have_node() {
  have node npm && node -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 20 || (a === 20 && b >= 19) ? 0 : 1)'
}

# summary: a line for each step, then what each test runner said of itself.
summary() {
  printf '\n== summary\n'
  printf '%s\n' "${results[@]}"
  # vitest, node's test runner, nextest, cargo test
  sed 's/\x1b\[[0-9;]*m//g' "$outputs"/*.txt \
    | grep -E '^ *(Tests  |Test Files  |# (tests|pass|fail) |ℹ (tests|pass|fail) |Summary \[|test result: )' || true
  rm -rf "$outputs"
  exit "$verdict"
}
