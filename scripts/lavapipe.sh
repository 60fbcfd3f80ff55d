#!/usr/bin/env bash
# Brings Mesa's lavapipe of Debian unstable (26 or later), a Vulkan driver that computes on the CPU and has matrices of subgroups,
# besides f16 and subgroups of eight, to .cache/lavapipe with the libraries it was built for; nothing is installed. Prints the
# path of a command that runs the project's Node with both:
#   node=$(scripts/lavapipe.sh) && "$node" node_modules/vitest/vitest.mjs run matrices --pool=threads --testTimeout=120000
set -euo pipefail
cd "$(dirname "$0")/.."
here=$PWD/.cache/lavapipe
libraries=$here/root/usr/lib/$(uname -m)-linux-gnu
loader=$(echo "$libraries"/ld-linux-*.so.*)

if [ ! -e "$loader" ] || [ ! -e "$libraries/libvulkan_lvp.so" ]; then
  command -v apt-get >/dev/null || { echo "lavapipe.sh needs Debian's apt-get and dpkg-deb" >&2; exit 1; }
  rm -rf "$here"
  mkdir -p "$here"/{lists/partial,cache/archives/partial,debs,root}
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian sid main" > "$here/sources.list"
  : > "$here/status" # as if nothing were installed: what the driver needs comes along
  cat > "$here/apt.conf" <<CONF
Dir::State "$here";
Dir::State::status "$here/status";
Dir::Cache "$here/cache";
Dir::Etc::sourcelist "$here/sources.list";
Dir::Etc::sourceparts "/dev/null";
APT::Install-Recommends "false";
CONF
  export APT_CONFIG=$here/apt.conf
  apt-get -q update >&2
  packages=$(apt-get -q install --print-uris -y mesa-vulkan-drivers libvulkan1 libstdc++6 | sed -n "s/^'[^']*' \([^_]*\)_.*/\1/p")
  (cd "$here/debs" && xargs apt-get -q download <<< "$packages") >&2
  for deb in "$here"/debs/*.deb; do dpkg-deb -x "$deb" "$here/root"; done
  rm -rf "$here"/{debs,cache,lists}
  loader=$(echo "$libraries"/ld-linux-*.so.*)
fi

printf '{ "file_format_version": "1.0.0", "ICD": { "api_version": "1.4.305", "library_path": "%s" } }\n' "$libraries/libvulkan_lvp.so" > "$here/lavapipe.json"
cat > "$here/node" <<NODE
#!/bin/sh
export VK_DRIVER_FILES='$here/lavapipe.json' XDG_RUNTIME_DIR="\${XDG_RUNTIME_DIR:-/tmp}"
exec '$loader' --library-path '$libraries' '$PWD/node_modules/node/bin/node' "\$@"
NODE
chmod +x "$here/node"
echo "$here/node"
