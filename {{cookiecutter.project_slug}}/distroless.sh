#!/usr/bin/env bash
# Collects in the named folder what a service needs of the stage slim: the interpreter with its standard
# library, the libraries these and the wheels in /venv are linked against, the Debian packages that the Dockerfile installs,
# certificates, time zones, a few names. The Dockerfile ships that folder as the distroless image.
set -euo pipefail
mkdir -p "$1" && cd "$1"

lib=$(python -c "import sysconfig; print(sysconfig.get_path('stdlib'))")
mkdir -p etc/ssl/certs srv usr/lib/ssl usr/local/bin usr/local/lib usr/share/doc var/lib/dpkg/status.d
mkdir -m 1777 tmp
for link in /lib /lib64; do [[ ! -L $link ]] || cp -a "$link" .; done

# Left out: tests, Tk, Berkeley DB, what needs a terminal or rights that nobody has here, and what is there in C as well.
# All else of the standard library can be imported.
cp -a /usr/local/bin/python* usr/local/bin/
cp -a "$lib" usr/local/lib/
for unused in config- ensurepip idlelib profiling/sampling pydoc_data test/ tkinter turtle venv/ curses dbm/gnu \
    dbm/ndbm lib-dynload/{_curses,_dbm,_gdbm,_remote_debugging,_test,_tkinter,readline} \
    {,__pycache__/}{turtle.,_pydatetime.,_pydecimal.,_pyio.}; do
    rm -rf ".$lib/$unused"*
done

# Whole packages, with what they open by name: Debian's tools and programs know their libraries, but nothing lists those
# that Python code opens.
names() { dpkg-query --admindir="$1" --show --showformat '${Package}\n' | sort; }
comm -13 <(names /tmp/upstream-dpkg) <(names /var/lib/dpkg) >/tmp/added
xargs --no-run-if-empty dpkg-query --listfiles </tmp/added | sort -u >/tmp/files
while read -r file; do
    case $file in /usr/share/doc/* | /usr/share/man/* | /usr/share/lintian/* | /usr/share/bug/*) continue ;; esac
    [[ -f $file || -L $file ]] || continue
    folder=.$(readlink -f "$(dirname "$file")")
    mkdir -p "$folder"
    cp -a "$file" "$folder"
done </tmp/files

# Every library that the interpreter and the extensions are linked against, wherever those libraries lead; wheels bring
# some along, which stay where they are. The C library opens libgcc_s by its name when a thread ends, so no list has it.
ldd "$(readlink -f /usr/local/bin/python3)" >/tmp/ldd
find . /venv -name '*.so*' -type f -exec ldd {} + >>/tmp/ldd
if grep 'not found' /tmp/ldd; then
    echo 'The libraries above are in no wheel and in no Debian package that the Dockerfile installs'
    exit 1
fi >&2
{
    awk '$2 == "=>" { print $3 } $1 ~ "^/.*/ld-" { print $1 }' /tmp/ldd | grep -v -e ^/venv/ -e "^$PWD/"
    ls /usr/lib/*/libgcc_s.so.1
} | sort -u >/tmp/libraries
while read -r library; do
    folder=.$(readlink -f "$(dirname "$library")")
    mkdir -p "$folder"
    cp -L "$library" "$folder"
done </tmp/libraries
cp -a /etc/ld.so.conf* etc/
ldconfig -r .
rm -rf var/cache

# Where certificates, time zones, and the names of hosts, services and users are looked up.
cp -L /etc/ssl/certs/ca-certificates.crt etc/ssl/certs/
ln -s /etc/ssl/certs/ca-certificates.crt usr/lib/ssl/cert.pem
cp -a /usr/share/zoneinfo usr/share/
cp -L /etc/{debian_version,os-release,protocols,services} etc/
echo 'hosts: files dns' >etc/nsswitch.conf
printf '%s\n' root:x:0:0::/:/none nobody:x:65534:65534::/:/none app:x:10001:10001::/:/none >etc/passwd
printf '%s\n' root:x:0: nogroup:x:65534: app:x:10001: >etc/group

# Scanners read here which packages the files are from, and licences ask to be kept with what they are for.
{
    grep -v ^/usr/local /tmp/libraries | xargs readlink -f | xargs dpkg-query -S | cut -d: -f1
    cat /tmp/added
    printf '%s\n' base-files ca-certificates netbase tzdata
} | sort -u | while read -r package; do
    dpkg-query -s "$package" >"var/lib/dpkg/status.d/$package"
    mkdir -p "usr/share/doc/$package"
    cp -L "/usr/share/doc/$package/copyright" "usr/share/doc/$package/"
done
cp -a /usr/share/common-licenses usr/share/

find . -exec touch -hd @0 {} +
