# A bill of materials in CycloneDX 1.5 (https://cyclonedx.org/docs/1.5/json/) from `cargo metadata`.
# $linked: the crates in the program, NAME@VERSION a line; $lock: the text of Cargo.lock, for digests.

def purl: "pkg:cargo/\(.name)@\(.version)";
# Some crates still write the slash of old days.
def expression: gsub(" */ *"; " OR ");

($linked | split("\n") | map(select(. != ""))) as $set
| ($lock | split("[[package]]")[1:] | map(
    capture("name = \"(?<name>[^\"]+)\"\nversion = \"(?<version>[^\"]+)\"\n(source = \"(?<source>[^\"]+)\"\n)?(checksum = \"(?<checksum>[0-9a-f]{64})\")?")
    | {key: "\(.name)@\(.version)", value: .checksum}) | from_entries) as $digests
| [.packages[] | select("\(.name)@\(.version)" | IN($set[]))] as $packages
| ($packages | map({key: .id, value: purl}) | from_entries) as $refs
| ($packages | map(select(.name == $root))[0]) as $own
| {
    bomFormat: "CycloneDX",
    specVersion: "1.5",
    version: 1,
    metadata: {
      timestamp: ($epoch | todate),
      component: {
        type: "application",
        "bom-ref": ($own | purl),
        name: $program,
        version: $version,
        description: $own.description,
        licenses: [{expression: $own.license}]
      }
    },
    components: ($packages | map(select(.id != $own.id)) | sort_by([.name, .version]) | map(
      {
        type: "library",
        "bom-ref": purl,
        name: .name,
        version: .version,
        scope: "required",
        purl: purl,
        licenses: [{expression: (.license | expression)}]
      }
      + (if .description then {description: (.description | gsub("\\s+"; " ") | ltrimstr(" ") | rtrimstr(" "))} else {} end)
      + (if $digests["\(.name)@\(.version)"] then {hashes: [{alg: "SHA-256", content: $digests["\(.name)@\(.version)"]}]} else {} end)
      + (if .repository then {externalReferences: [{type: "vcs", url: .repository}]} else {} end))),
    dependencies: (.resolve.nodes | map(select($refs[.id])) | map({
        ref: $refs[.id],
        dependsOn: ([.deps[] | select(any(.dep_kinds[]; .kind == null)) | $refs[.pkg] | select(. != null)] | unique)
      }) | sort_by(.ref))
  }
