# The bill of materials out of what cargo, Cargo.lock, the manifest and the
# program say. See packaging/release/sbom.

def escaped: gsub("%"; "%25") | gsub("\\+"; "%2B") | gsub(":"; "%3A");
def crate_ref: "pkg:cargo/\(.name)@\(.version | escaped)";
def licence: [{expression: (if contains("/") then gsub("/"; " OR ") else . end)}];

$metadata[0] as $cargo
| ($shipped[0] | map({key: "\(.[0]) \(.[1])", value: true}) | from_entries) as $in_program
| ($locked[0] | map({key: "\(.[0]) \(.[1])", value: .[2]}) | from_entries) as $digest_of
| ($cargo.packages | map({key: .id, value: .}) | from_entries) as $by_id
| def ships: $in_program["\(.name) \(.version)"] // false;
  ($cargo.packages[] | select(.id == $cargo.resolve.root)) as $root
| ($cargo.packages | map(select(ships and .id != $root.id)) | sort_by(.name, .version)) as $crates

# What else is linked, and what three crates bring in source.
| {
    std: "rust-std@\($rust)", glibc: (if $vendor == "" then "pkg:generic/glibc@\($glibc)" else "pkg:deb/\($vendor)/glibc@\($glibc | escaped)?arch=source" end),
    libgcc: "libgcc@\($gcc)", root: "binfmtctl@\($root.version)"
  } as $ref
| {
    "liblzma-sys": [{
        type: "library", "bom-ref": "xz@\($xz)", name: "xz", version: $xz,
        description: "liblzma, compiled from the source in the crate",
        purl: "pkg:github/tukaani-project/xz@v\($xz)", licenses: ("0BSD" | licence)
    }],
    "zstd-sys": [{
        type: "library", "bom-ref": "libzstd@\($zstd)", name: "libzstd", version: $zstd,
        description: "libzstd, compiled from the source in the crate",
        purl: "pkg:github/facebook/zstd@v\($zstd)", licenses: ("BSD-3-Clause" | licence)
    }],
    "ring": [{
        type: "library", "bom-ref": "boringssl", name: "BoringSSL",
        description: "C and assembly of BoringSSL's, and of fiat-crypto's through it, compiled from the source in the crate, which doesn't say of which version",
        purl: "pkg:generic/boringssl", licenses: ("Apache-2.0 AND ISC AND (MIT OR Apache-2.0 OR BSD-1-Clause)" | licence)
    }]
  } as $brought

| def component:
    . as $crate
    | {
        type: "library", "bom-ref": crate_ref, name, version, purl: crate_ref,
        licenses: (.license | licence),
        hashes: [{alg: "SHA-256", content: $digest_of["\(.name) \(.version)"]}],
        externalReferences: [.repository | strings | select(startswith("https://")) | {type: "vcs", url: .}],
        components: ($brought[.name] // [])
      }
    | with_entries(select(.value != []));

  def emulators:
    {
        type: "application", scope: "optional", name: .package, version,
        "bom-ref": "\(.package)@\(.version)?arch=\(.host)",
        purl: "pkg:deb/debian/\(.package)@\(.version | escaped)?arch=\(.host)&distro=\(.suite)",
        description: "QEMU \(.qemu) for \(.host) hosts: not in the program, whose manifest pins it, down to each emulator",
        licenses: ("GPL-2.0-only" | licence),
        hashes: [{alg: "SHA-256", content: .sha256}],
        externalReferences: [.urls[] | {type: "distribution", url: .}]
    };

  def links_to:
    [.deps[] | select(any(.dep_kinds[]; .kind == null)) | $by_id[.pkg] | select(ships) | crate_ref] | unique;

{
    "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
    bomFormat: "CycloneDX", specVersion: "1.6", version: 1,
    metadata: {
        timestamp: $time,
        lifecycles: [{phase: "build"}],
        tools: {components: [
            {type: "application", name: "rustc", version: $rust},
            {type: "application", name: "gcc", version: $gcc}
        ]},
        component: {
            type: "application", "bom-ref": $ref.root, name: $root.name, version: $root.version,
            description: $root.description, licenses: ($root.license | licence),
            purl: "pkg:generic/binfmtctl@\($root.version)",
            hashes: [{alg: "SHA-256", content: $digest}],
            properties: [{name: "binfmtctl:target", value: $target}]
        }
    },
    components: (($crates | map(component)) + [
        {
            type: "library", "bom-ref": $ref.std, name: "rust-std", version: $rust,
            description: "Rust's standard library, with what it has in it",
            purl: "pkg:github/rust-lang/rust@\($rust)", licenses: ("MIT OR Apache-2.0" | licence)
        },
        {
            type: "library", "bom-ref": $ref.glibc, name: "glibc", version: $glibc,
            description: "the GNU C library, linked statically",
            purl: $ref.glibc, licenses: ("LGPL-2.1-or-later" | licence)
        },
        {
            type: "library", "bom-ref": $ref.libgcc, name: "libgcc", version: $gcc,
            description: "GCC's runtime library, linked statically",
            purl: "pkg:generic/gcc@\($gcc)", licenses: ("GPL-3.0-or-later WITH GCC-exception-3.1" | licence)
        }
    ] + ($manifest[0].releases | map(emulators))),
    dependencies: ([
        $cargo.resolve.nodes[] | select($by_id[.id] | ships)
        | if .id == $root.id then {ref: $ref.root, dependsOn: (links_to + [$ref.std, $ref.glibc, $ref.libgcc])}
          else {ref: ($by_id[.id] | crate_ref), dependsOn: links_to} end
    ] | sort_by(.ref)),
    compositions: [
        {aggregate: "complete", dependencies: [$ref.root]},
        {aggregate: "incomplete", assemblies: [$ref.std]}
    ]
}
