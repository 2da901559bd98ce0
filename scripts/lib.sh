# shellcheck shell=bash
# What the scripts share: where the clone is, and how each part it needs is brought up to date.
#
# A part is a pair of functions: `ready_PART` says whether it is there and current (cheap, writes nothing), `make_PART`
# brings it there. Parts keep a stamp, the hash of what they were made from, so a second run costs a few hashes. A stamp
# goes away before its part is touched and comes back when it is whole, so an interrupted run is simply made again.

set -euo pipefail
shopt -s inherit_errexit

ROOT=$(dirname -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")")
VENV=$ROOT/.venv
PYTHON=$VENV/bin/python
WEB=$ROOT/web
PAGE=$ROOT/hilum/static
STATE=$ROOT/.uv
DEBIAN_PACKAGES=() # COMMAND=PACKAGE pairs that the calling script needs

say() { printf 'hilum: %s\n' "$*" >&2; }

fail() { # MESSAGE: what is missing and the way out; 2, as for wrong usage
    say "$*"
    exit 2
}

# Sites that inspect TLS put their certificate into the system's store, which uv, pip and Node do not read by default.
trust_system_certificates() {
    local store=/etc/ssl/certs/ca-certificates.crt
    [ -r "$store" ] || return 0
    export SSL_CERT_FILE=${SSL_CERT_FILE:-$store} PIP_CERT=${PIP_CERT:-$store} NODE_EXTRA_CA_CERTS=${NODE_EXTRA_CA_CERTS:-$store}
}

digest() { sha256sum | cut -d ' ' -f 1; }

stamped() { # FILE DIGEST
    [ -r "$1" ] && [ "$(cat -- "$1")" = "$2" ]
}

stamp() { # FILE CONTENT
    printf '%s\n' "$2" >"$1.new"
    mv -f -- "$1.new" "$1"
}

# set_up PART...: make what is not ready; only one script at a time does so in a clone.
set_up() {
    local part
    for part in "$@"; do
        if ! "ready_$part"; then
            locked make_missing "$@"
            return
        fi
    done
}

locked() {
    mkdir -p -- "$STATE" 2>/dev/null && (: >>"$STATE/lock") 2>/dev/null && [ -w "$ROOT" ] ||
        fail "something has to be installed in $ROOT, and that or its .uv is not yours to write: run this once as its owner."
    (
        flock --nonblock 9 || {
            say "another script is setting up this clone; waiting for it"
            flock 9
        }
        "$@" 9>&-
    ) 9>"$STATE/lock"
}

# Parts of one lane take something from each other and are made in turn; lanes are made side by side.
lane_of() { # PART
    case $1 in
    base | dev) echo python ;;
    modules | page) echo page ;;
    *) echo "$1" ;;
    esac
}

make_missing() {
    local part lane status lanes=()
    local -A parts=()
    trust_system_certificates
    for part in "$@"; do
        "ready_$part" && continue
        if [ "$part" = debian ]; then # others may need what it installs
            make_debian
        else
            parts[$(lane_of "$part")]+=" $part"
        fi
    done
    set -m # each lane is a process group, which can be ended as a whole
    for lane in "${!parts[@]}"; do
        (for part in ${parts[$lane]}; do "make_$part"; done) </dev/null &
        lanes+=("-$!")
    done
    set +m
    trap 'kill -- "${lanes[@]}" 2>/dev/null; exit 130' HUP INT TERM
    for lane in "${lanes[@]}"; do
        wait -n || {
            status=$?
            kill -- "${lanes[@]}" 2>/dev/null || true
            exit "$status"
        }
    done
}

# ---- Debian packages ------------------------------------------------------------------------------------------------

missing_packages() {
    local pair
    for pair in "${DEBIAN_PACKAGES[@]}"; do
        command -v "${pair%%=*}" >/dev/null || [ -e "${pair%%=*}" ] || printf '%s\n' "${pair#*=}"
    done
}

ready_debian() { [ -z "$(missing_packages)" ]; }

make_debian() {
    local missing
    mapfile -t missing < <(missing_packages)
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
        fail "this needs the Debian packages ${missing[*]}: install them (as root: apt-get install ${missing[*]}) and start again."
    fi
    say "installing from Debian: ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get -qq -o DPkg::Lock::Timeout=600 update >&2
    apt-get -qq -o DPkg::Lock::Timeout=600 install --yes --no-install-recommends "${missing[@]}" >&2
}

# ---- Python ---------------------------------------------------------------------------------------------------------

# The environment is at one of two levels: `base` (requirements/base.txt, to run) or `dev` (requirements/dev.txt, which
# holds all of base, to test and check). It only ever goes up, so running does not take the test packages away.

python_digest() { # LEVEL
    { printf '%s\n' "$ROOT" && cat -- "$ROOT/requirements/$1.txt" "$ROOT/pyproject.toml"; } | digest
}

python_level() { # the level that was last complete, or nothing
    local level=
    [ ! -r "$VENV/.hilum-level" ] || level=$(cat -- "$VENV/.hilum-level")
    [ ! -x "$PYTHON" ] || printf '%s' "$level"
}

ready_base() {
    local level
    level=$(python_level)
    [ -n "$level" ] && stamped "$VENV/.hilum-stamp" "$(python_digest "$level")" && "$PYTHON" -P -c 'import hilum' 2>/dev/null
}

ready_dev() { [ "$(python_level)" = dev ] && ready_base; }

make_base() {
    local level
    level=$(python_level)
    make_python "${level:-base}"
}

make_dev() { make_python dev; }

make_python() { # LEVEL
    local uv python
    uv=$(find_uv)
    rm -f -- "$VENV/.hilum-stamp"
    if ! is_recent "$PYTHON"; then
        python=$(find_python)
        say "making the Python environment .venv with $python"
        "$uv" venv --quiet --clear --python "$python" "$VENV"
    fi
    say "installing the Python packages of requirements/$1.txt"
    "$uv" pip sync --quiet --compile-bytecode --python "$PYTHON" --require-hashes "$ROOT/requirements/$1.txt" >&2
    # The sync takes out what the lock does not name, the package itself included.
    "$uv" pip install --quiet --python "$PYTHON" --no-deps --editable "$ROOT" >&2
    stamp "$VENV/.hilum-level" "$1"
    stamp "$VENV/.hilum-stamp" "$(python_digest "$1")"
}

is_recent() { # PYTHON: does it run, and is it new enough?
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

find_python() {
    local name
    for name in python3 python3.13 python3.12 python3.11; do
        if is_recent "$name"; then
            "$name" -c 'import sys; print(sys.executable)'
            return
        fi
    done
    fail "Python 3.11 or newer is needed and was not found on the PATH: install it (Debian: apt-get install python3 python3-venv) and start again."
}

find_uv() {
    local python
    if uv --version >/dev/null 2>&1; then
        command -v uv
        return
    fi
    if ! stamped "$STATE/uv-stamp" "$(digest <"$ROOT/scripts/uv.txt")" || ! "$STATE/venv/bin/uv" --version >/dev/null 2>&1; then
        python=$(find_python)
        if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
            DEBIAN_PACKAGES=("python3-venv=python3-venv")
            make_debian
        fi
        say "installing uv into .uv"
        rm -f -- "$STATE/uv-stamp"
        "$python" -m venv --clear "$STATE/venv" >&2
        "$STATE/venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r "$ROOT/scripts/uv.txt" >&2
        stamp "$STATE/uv-stamp" "$(digest <"$ROOT/scripts/uv.txt")"
    fi
    printf '%s\n' "$STATE/venv/bin/uv"
}

# ---- the web page ---------------------------------------------------------------------------------------------------

modules_digest() { cat -- "$WEB/package.json" "$WEB/package-lock.json" "$WEB/.npmrc" | digest; }

ready_modules() { stamped "$WEB/node_modules/.hilum-stamp" "$(modules_digest)"; }

make_modules() {
    local major
    if ! major=$(node -p 'process.versions.node.split(".")[0]' 2>/dev/null) || [ "$major" -lt 20 ] || ! command -v npm >/dev/null; then
        fail "Node 20 or newer with npm is needed to build the web page: install it (nodejs.org, or your distribution's nodejs and npm) and start again."
    fi
    say "installing the web page's packages"
    rm -f -- "$WEB/node_modules/.hilum-stamp"
    (cd -- "$WEB" && npm ci --include=dev --no-audit --no-fund --no-update-notifier --loglevel=error >&2)
    stamp "$WEB/node_modules/.hilum-stamp" "$(modules_digest)"
}

page_digest() { # everything in web/ that a build can read
    (cd -- "$WEB" && find . \( -name node_modules -o -name dist -o -name coverage -o -name '*.tsbuildinfo' \) -prune -o -type f -print0 |
        LC_ALL=C sort --zero-terminated | xargs --null sha256sum) | digest
}

ready_page() { [ -f "$PAGE/index.html" ] && stamped "$STATE/page-stamp" "$(page_digest)"; }

make_page() {
    local sources
    ready_modules || make_modules
    say "building the web page"
    sources=$(page_digest)
    rm -f -- "$STATE/page-stamp"
    (cd -- "$WEB" && npm run build --silent >&2)
    [ -f "$PAGE/index.html" ] || fail "the build of the web page left no hilum/static/index.html; see the messages above."
    stamp "$STATE/page-stamp" "$sources"
}

# ---- OHIF, a viewer of others that the tests let look at our archive --------------------------------------------------

ready_ohif() { stamped "$STATE/ohif/stamp" "$(digest <"$ROOT/tests/web/ohif.txt")"; }

make_ohif() {
    local package checksum archive
    { read -r package && read -r checksum; } <"$ROOT/tests/web/ohif.txt"
    say "installing $package"
    rm -rf -- "$STATE/ohif"
    mkdir -- "$STATE/ohif"
    archive=$STATE/ohif/$(cd -- "$STATE/ohif" && npm pack --silent --no-update-notifier "$package")
    printf '%s  %s\n' "$checksum" "$archive" | sha512sum --check --status ||
        fail "$package is not what tests/web/ohif.txt says it is."
    tar --extract --gzip --file "$archive" --directory "$STATE/ohif" package/dist
    rm -- "$archive"
    stamp "$STATE/ohif/stamp" "$(digest <"$ROOT/tests/web/ohif.txt")"
}

# ---- npm's packages that the tests run: a FHIR validator of others, by which they judge what we write, and an Azure ------

npm_digest() { cat -- "$1"/{package.json,package-lock.json,.npmrc} | digest; } # FOLDER

make_npm() { # PART FOLDER: what the lock file of the folder names, into .uv/PART
    rm -rf -- "${STATE:?}/$1"
    mkdir -- "$STATE/$1"
    cp -- "$2"/{package.json,package-lock.json,.npmrc} "$STATE/$1"
    (cd -- "$STATE/$1" && npm ci --ignore-scripts --no-audit --no-fund --no-update-notifier --loglevel=error >&2)
    stamp "$STATE/$1/stamp" "$(npm_digest "$2")"
}

ORACLE=$ROOT/tests/clinical/oracle

ready_oracle() { stamped "$STATE/oracle/stamp" "$(npm_digest "$ORACLE")"; }

make_oracle() {
    say "installing the FHIR validator of the tests"
    make_npm oracle "$ORACLE"
}

AZURITE=$ROOT/tests/core/azurite

ready_azurite() { stamped "$STATE/azurite/stamp" "$(npm_digest "$AZURITE")"; }

make_azurite() {
    say "installing the Azure Blob Storage of the tests"
    make_npm azurite "$AZURITE"
}
