#!/usr/bin/env bash
# Brings Mesa's lavapipe 25, a Vulkan driver that computes on the CPU and has f16 and subgroups of eight, from Debian 12's
# backports to .cache/lavapipe, beside what the system has; nothing is installed. Prints the settings under which the webgpu
# device finds it:
#   eval "$(scripts/lavapipe.sh)" && npx -y pnpm@12.21.0 test wgsl
# What the driver links to must be there: apt-get install mesa-vulkan-drivers libvulkan1 brings it.
set -euo pipefail
cd "$(dirname "$0")/.."
here=$PWD/.cache/lavapipe
library=$here/root/usr/lib/$(uname -m)-linux-gnu/libvulkan_lvp.so

if [ ! -e "$library" ]; then
  command -v apt-get >/dev/null || { echo "lavapipe.sh needs Debian's apt-get and dpkg-deb" >&2; exit 1; }
  mkdir -p "$here"/{lists/partial,cache/archives/partial,root}
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian bookworm-backports main" > "$here/sources.list"
  # apt with lists and a cache of its own.
  cat > "$here/apt.conf" <<CONF
Dir::State "$here";
Dir::State::status "/var/lib/dpkg/status";
Dir::Cache "$here/cache";
Dir::Etc::sourcelist "$here/sources.list";
Dir::Etc::sourceparts "/dev/null";
CONF
  export APT_CONFIG=$here/apt.conf
  apt-get -q update >&2
  (cd "$here/cache" && apt-get -q download mesa-vulkan-drivers/bookworm-backports) >&2
  dpkg-deb -x "$here"/cache/mesa-vulkan-drivers_*.deb "$here/root"
fi
missing=$(ldd "$library" | grep 'not found' || true)
if [ -n "$missing" ]; then printf 'lavapipe.sh: libraries are missing (apt-get install mesa-vulkan-drivers libvulkan1)\n%s\n' "$missing" >&2; exit 1; fi

printf '{ "file_format_version": "1.0.0", "ICD": { "api_version": "1.4.305", "library_path": "%s" } }\n' "$library" > "$here/lavapipe.json"
printf 'export VK_DRIVER_FILES=%q XDG_RUNTIME_DIR=%q\n' "$here/lavapipe.json" "${XDG_RUNTIME_DIR:-/tmp}"
