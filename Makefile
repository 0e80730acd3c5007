# The tasks of this project; each is a script that can be run by itself. `make` alone lists them.

.PHONY: help build run stop test check bench

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST)

build: ## the web UI and the release binary: target/release/onebox
	@scripts/build

run: ## build, deploy examples/flask on http://localhost:8080, print the addresses
	@scripts/run

stop: ## stop the appliance that `make run` started
	@scripts/stop

test: ## everything that must hold: formatting, lints, web UI, all tests, the dashboard in a browser
	@scripts/test

check: ## the quick part of it: formatting, lints, types
	@scripts/check

bench: ## onebox beside nginx, uWSGI and Granian: CPU a request, memory, start and deploy
	@scripts/bench
