"""Pages from templates: escaped, and an unknown name in one is a fault."""

from jinja2 import Environment, PackageLoader, StrictUndefined, Template


def find_template(package: str, name: str) -> Template:
    """The template `name` that lies in `package`."""
    environment = Environment(
        loader=PackageLoader(package, "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)
