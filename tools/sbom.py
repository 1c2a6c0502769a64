"""The bundle's parts as CycloneDX 1.6: Python packages, what their wheels carry, Debian packages, the interpreter.

Run with a file, it validates that file: exit status 1 and the reason if it is not CycloneDX.
"""

from __future__ import annotations

import hashlib
import json
import platform
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from importlib.metadata import Distribution, distributions
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

from bundle_debian import Package
from cyclonedx.factory.license import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

LONGEST_LICENCE = 80
"""Characters; older packages have a whole text where a name belongs."""


class InvalidSbomError(Exception):
    """Not what the schema of CycloneDX asks for; the text says where."""


def write(bundle: Path, version: str, site_packages: Path, packages: Iterable[Package], epoch: int) -> Path:
    """Beside the bundle, validated. epoch: seconds, for the document's time. Raises InvalidSbomError."""
    parts = [
        *python_components(site_packages),
        *carried(site_packages),
        *map(debian_component, packages),
        interpreter(),
    ]
    digest = hashlib.sha256(bundle.read_bytes()).hexdigest()
    subject = Component(
        type=ComponentType.APPLICATION,
        name="whodunnet",
        version=version,
        bom_ref=bundle.name,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest)],
        licenses=[LicenseFactory().make_from_string("Apache-2.0 AND GPL-2.0-only")],
    )
    bom = Bom(components=parts, serial_number=uuid5(NAMESPACE_URL, f"sha256:{digest}"))
    bom.metadata.component = subject
    bom.metadata.timestamp = datetime.fromtimestamp(epoch, UTC)
    bom.register_dependency(subject, parts)
    text = JsonV1Dot6(bom).output_as_string(indent=1)
    validate(text)
    target = bundle.with_name(f"whodunnet-{version}.cdx.json")
    target.write_text(text + "\n")
    return target


def validate(text: str) -> None:
    """Raises InvalidSbomError."""
    error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if error is not None:
        raise InvalidSbomError(f"not CycloneDX 1.6: {error}")


def python_components(site_packages: Path) -> Iterator[Component]:
    """Installed distributions but our own."""
    for found in sorted(distributions(path=[str(site_packages)]), key=lambda d: d.name.lower()):
        if found.name != "whodunnet":
            licence = licence_of(found)
            url = PackageURL("pypi", None, found.name.lower().replace("_", "-"), found.version)
            yield Component(
                name=found.name,
                version=found.version,
                purl=url,
                bom_ref=str(url),
                licenses=[LicenseFactory().make_from_string(licence)] if licence else [],
            )


def licence_of(found: Distribution) -> str | None:
    """The expression, else the short name, else that of the trove classifier."""
    metadata = found.metadata
    classifiers = [c.rpartition(" :: ")[2] for c in metadata.get_all("Classifier", []) if c.startswith("License ::")]
    for text in (metadata.get("License-Expression"), metadata.get("License"), *classifiers):
        if text and len(text) <= LONGEST_LICENCE and "\n" not in text:
            return text
    return None


def carried(site_packages: Path) -> Iterator[Component]:
    """PEP 770: the libraries that were grafted into a wheel, without their doubles."""
    for file in sorted(site_packages.glob("*.dist-info/sboms/*.json")):
        urls = {part["purl"] for part in json.loads(file.read_text())["components"] if part.get("purl")}
        for url in (PackageURL.from_string(text) for text in sorted(urls) if not text.startswith("pkg:pypi/")):
            wheel = file.parent.parent.name.removesuffix(".dist-info")
            yield Component(
                name=url.name, version=url.version, purl=url, bom_ref=f"{wheel}:{url}", description=f"within {wheel}"
            )


def debian_component(package: Package) -> Component:
    vendor = package.distribution.partition("-")[0]
    qualifiers = {"arch": package.architecture, "distro": package.distribution}
    url = PackageURL("deb", vendor, package.name, package.version, qualifiers)
    return Component(name=package.name, version=package.version, purl=url, bom_ref=str(url))


def interpreter() -> Component:
    version = platform.python_version()
    return Component(
        type=ComponentType.PLATFORM,
        name="CPython",
        version=version,
        bom_ref=f"cpython@{version}",
        licenses=[LicenseFactory().make_from_string("PSF-2.0")],
    )


if __name__ == "__main__":
    try:
        validate(Path(sys.argv[1]).read_text())
    except InvalidSbomError as invalid:
        sys.exit(str(invalid))
