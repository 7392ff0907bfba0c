"""Pages from templates: escaped, and an unknown name in one is a fault."""

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined, Template

_SHARED = PackageLoader("dosimetry.report", ".")  # report.css and parts.html.j2, which all pages have in common


def find_template(package: str, name: str) -> Template:
    """The template `name` that lies in `package`; it may include and import what lies beside this module."""
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package, "."), _SHARED]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)
