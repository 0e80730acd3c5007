"""Its application exists only when somebody asks for it (PEP 562)."""


def __getattr__(name):
    if name != "application":
        raise AttributeError(name)

    def made_on_demand(environ, start_response):
        start_response("200 OK", [])
        return [b"made"]

    return made_on_demand
