# The copyright file of the Debian package, in the machine-readable format 1.0: our own files, then every
# crate that is linked in. The texts that Debian does not carry stand beside it, as published.

def words: gsub(" */ *"; " OR ");
# This format knows no brackets and no exceptions with a hyphen.
def license:
  words
  | gsub(" WITH "; "-with-")
  | gsub("^\\((?<all>[^()]*)\\) AND (?<other>.*)$"; "\(.all), AND \(.other)")
  | gsub(" OR "; " or ") | gsub(" AND "; " and ");
def ids: words | gsub(" WITH "; "-with-") | gsub("[()]"; "") | split(" (OR|AND) "; null);
def authors:
  (.authors | map(gsub("[\\s\\x{0}-\\x{1f}]+"; " ")) | map(select(. != ""))) as $names
  | if ($names | length) > 0 then $names | join("\n           ") else "the authors of \(.name)" end;
def common: {
  "Apache-2.0": "Apache-2.0", "GPL-3.0-only": "GPL-3", "MPL-2.0": "MPL-2.0", "CC0-1.0": "CC0-1.0"
};

($linked | split("\n") | map(select(. != ""))) as $set
| [.packages[] | select(.source != null) | select("\(.name)@\(.version)" | IN($set[]))] as $packages
| "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/",
  "Upstream-Name: kiosk",
  "Comment: The programs of this package are linked from the crates below; their sources are",
  " fetched by Cargo and are no files of the kiosk's own source.",
  "",
  "Files: *",
  "Copyright: 2026 the authors of the kiosk terminal",
  "License: GPL-3.0-only",
  "",
  (if any($set[]; startswith("kiosk-camera@")) then
    "Files: device-drivers/camera/models/seeta_fd_frontal_v1.0.bin",
    "Copyright: Visual Information Processing and Learning (VIPL) group, Institute of Computing Technology, Chinese Academy of Sciences",
    "License: BSD-2-Clause",
    ""
  else empty end),
  ($packages | sort_by([.name, .version])[] |
    "Files: crates/\(.name)-\(.version)/*",
    "Copyright: \(authors)",
    "License: \(.license | license)",
    ""),
  (if any($set[]; startswith("libsqlite3-sys@")) then
    "Files: crates/libsqlite3-sys-*/sqlite3/*",
    "Copyright: none, its authors gave it to the public",
    "License: public-domain",
    " The authors of SQLite disclaim copyright to it (https://www.sqlite.org/copyright.html).",
    ""
  else empty end),
  ([$packages[].license | ids[]] + ["GPL-3.0-only", "BSD-2-Clause"] | unique[] |
    "License: \(.)",
    (if common[.] then
      " On Debian systems the full text is in /usr/share/common-licenses/\(common[.])."
    else
      " The full text, with the notice of each author, is in",
      " /usr/share/doc/\($package)/third-party-licenses.txt.gz."
    end),
    "")
