#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes messages.h and messages.c, the structs and tables of the codec, from the *.kmsg files.

The notation is explained in README.md; what the tables mean, in schema.h.
Usage: gen.py OUTPUT_FOLDER FILE.kmsg...
"""

import os
import re
import sys

# notation -> (C type, enum kp_type, bytes on the wire or None)
SCALARS = {
    "bool": ("bool", "BOOL", 1),
    "int8": ("int8_t", "INT8", 1),
    "int16": ("int16_t", "INT16", 2),
    "uint16": ("uint16_t", "UINT16", 2),
    "int32": ("int32_t", "INT32", 4),
    "uint32": ("uint32_t", "UINT32", 4),
    "int64": ("int64_t", "INT64", 8),
    "float64": ("double", "FLOAT64", 8),
    "uuid": ("struct uuid", "UUID", 16),
    "string": ("struct str", "STRING", None),
    "bytes": ("struct bytes", "BYTES", None),
    "records": ("struct bytes", "RECORDS", None),
}
FIXED_OPS = {1: "FIX1", 2: "FIX2", 4: "FIX4", 8: "FIX8", 16: "FIX16"}
ANY_VERSION = 32767
C_WORDS = {"auto", "break", "case", "char", "const", "default", "double", "enum", "extern", "float",
           "int", "long", "register", "return", "short", "signed", "static", "struct", "union"}


class Fault(Exception):
    """A mistake in a .kmsg file."""


def snake(name):
    """FetchTopic -> fetch_topic, isKRaftController -> is_kraft_controller."""
    s = name.replace("KRaft", "Kraft")
    s = re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1_\2", s)
    s = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", s).lower()
    return s + "_" if s in C_WORDS else s


def parse_range(text):
    """'3+' -> (3, ANY_VERSION), '0-2' -> (0, 2), '1' -> (1, 1)."""
    m = re.fullmatch(r"(\d+)(\+|-(\d+))?", text)
    if not m:
        raise Fault("bad version range '%s'" % text)
    first = int(m.group(1))
    if m.group(2) is None:
        return first, first
    last = ANY_VERSION if m.group(2) == "+" else int(m.group(3))
    if last < first:
        raise Fault("bad version range '%s'" % text)
    return first, last


class Struct:
    """A message or a nested struct: an ordered list of fields."""

    def __init__(self, name):
        self.name = name
        self.fields = []
        self.message = None

    @property
    def c_name(self):
        return "kp_" + (self.name if self.message is self else self.message.name + "_" + self.name)


class Message(Struct):
    def __init__(self, kind, name, key, versions, flexible):
        super().__init__(name)
        self.message = self
        self.kind, self.key = kind, key
        self.first, self.last = versions
        self.flexible = flexible
        self.structs = {}  # nested, by type name, inner before outer


class Field:
    """One field: see README.md for what each attribute means."""

    def __init__(self, message, words):
        if len(words) < 3:
            raise Fault("a field is: name type versions [attributes]")
        self.name, text, versions = words[:3]
        self.versions = parse_range(versions)
        self.nullable = None
        if text.endswith("?"):
            self.nullable, text = self.versions, text[:-1]
        self.array = text.endswith("[]")
        self.type = text[:-2] if self.array else text
        self.default, self.tag, self.ignorable, self.plain = None, None, False, False
        self.struct = None if self.type in SCALARS else self.type
        self._attributes(words[3:])
        self.member = snake(self.name)
        # a nullable struct is kept by pointer, so that it can be absent
        self.pointer = self.struct is not None and not self.array and self.nullable is not None
        if self.tag is not None and self.versions[0] < message.flexible:
            raise Fault("a tagged field needs flexible versions")
        if self.pointer and self.tag is not None:
            raise Fault("nullable tagged structs are not supported")
        if self.array and self.type in ("bool", "float64", "bytes", "records"):
            raise Fault("arrays of %s are not supported" % self.type)

    def _attributes(self, words):
        i = 0
        while i < len(words):
            word = words[i]
            if word in ("ignorable", "plain"):
                setattr(self, word, True)
                i += 1
                continue
            if i + 1 == len(words):
                raise Fault("'%s' is no attribute or lacks its value" % word)
            value = words[i + 1]
            if word == "=":
                self.default = value
            elif word == "tag":
                self.tag = int(value)
            elif word == "null":
                self.nullable = parse_range(value)
            else:
                raise Fault("unknown attribute '%s'" % word)
            i += 2

    def has(self, version):
        return self.versions[0] <= version <= self.versions[1]

    def can_be_null(self, version):
        return self.nullable is not None and self.nullable[0] <= version <= self.nullable[1]

    @property
    def default_null(self):
        return self.default == "null"

    def initializer(self):
        """The default as members of a C initializer; empty when all bits are zero."""
        m = "." + self.member
        if self.default_null:
            if self.array:
                return [m + "_count = -1"]
            return [] if self.pointer else [m + ".len = -1"]
        if self.struct and not self.array and not self.pointer:
            inner = [i for f in self.struct.fields for i in f.initializer()]
            return [m + " = {" + ", ".join(inner) + "}"] if inner else []
        if self.default is None:
            return []
        value = self.default
        if self.array or self.type not in ("bool", "int8", "int16", "uint16", "int32", "uint32",
                                           "int64"):
            raise Fault("field %s cannot have the default %s" % (self.name, value))
        if self.type == "bool":
            return ["%s = %s" % (m, value)]
        number = int(value, 0)
        if number == -2**31:
            return ["%s = INT32_MIN" % m]
        return ["%s = %d" % (m, number)] if number else []


def parse_header(line):
    m = re.fullmatch(r"(request|response|header|record) (\w+)(?: key (\d+))? versions (\S+)"
                     r"(?: flexible (\d+)\+)?", line)
    if not m:
        raise Fault("expected: request|response|header|record NAME [key N] versions A-B "
                    "[flexible N+]")
    if (m.group(3) is not None) != (m.group(1) in ("request", "response")):
        raise Fault("requests and responses have a key, others do not")
    return Message(m.group(1), m.group(2), None if m.group(3) is None else int(m.group(3)),
                   parse_range(m.group(4)), ANY_VERSION if m.group(5) is None else int(m.group(5)))


def new_struct(message, name):
    if name in message.structs:
        raise Fault("struct %s is defined twice" % name)
    s = Struct(name)
    s.message = message
    message.structs[name] = s
    return s


def parse_file(path, messages):
    """Appends the messages of one file. Indentation (4 spaces) nests: the fields under a field of
    struct type define that struct; under 'struct NAME' they define one that several fields share."""
    message, stack = None, []  # stack: (struct that takes fields at this depth)
    with open(path, encoding="ascii") as f:
        lines = f.read().split("\n")
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            indent = len(line) - len(line.lstrip(" "))
            if indent % 4 or "\t" in line:
                raise Fault("indentation is by 4 spaces")
            depth, words = indent // 4, line.split()
            if depth == 0:
                message = parse_header(" ".join(words))
                messages.append(message)
                stack = [message]
                continue
            if depth > len(stack) or stack[depth - 1] is None:
                raise Fault("nothing here can take a field")
            del stack[depth:]
            if words[0] == "struct" and len(words) == 2 and depth == 1:
                stack.append(new_struct(message, words[1]))
                continue
            field = Field(message, words)
            stack[depth - 1].fields.append(field)
            stack.append(None)
            if field.struct and next_is_deeper(lines, number, indent):
                stack[depth] = new_struct(message, field.struct)
        except (Fault, ValueError) as e:
            raise Fault("%s:%d: %s" % (path, number, e)) from e


def next_is_deeper(lines, number, indent):
    """Whether the next line that says something, from index number on, is indented further."""
    for line in lines[number:]:
        if line.strip() and not line.lstrip().startswith("#"):
            return len(line) - len(line.lstrip(" ")) > indent
    return False


def resolve(message):
    """Ties struct names to structs and orders them inner first."""
    ordered, active = [], []

    def visit(s):
        if s in ordered:
            return
        if s in active:
            raise Fault("%s: struct %s contains itself" % (message.name, s.name))
        active.append(s)
        seen = set()
        for f in s.fields:
            if f.member in seen:
                raise Fault("%s.%s: field %s twice" % (message.name, s.name, f.name))
            seen.add(f.member)
            if f.struct:
                if f.struct not in message.structs:
                    raise Fault("%s.%s: no struct %s" % (message.name, f.name, f.struct))
                f.struct = message.structs[f.struct]
                visit(f.struct)
        active.pop()
        ordered.append(s)

    visit(message)
    for s in message.structs.values():
        if s not in ordered:
            raise Fault("%s: struct %s is not used" % (message.name, s.name))
    message.ordered = ordered


# ---------------------------------------------------------------- what a version looks like

def min_bytes(struct, version):
    """The fewest bytes that any encoding of this version takes."""
    flexible = version >= struct.message.flexible
    n = 1 if flexible else 0
    for f in struct.fields:
        if f.has(version) and f.tag is None:
            n += field_min_bytes(f, version, flexible and not f.plain)
    return n


def field_min_bytes(f, version, flexible):
    if f.array:
        return 1 if flexible else 4
    if f.pointer and f.can_be_null(version):
        return 1
    if f.struct:
        return min_bytes(f.struct, version)
    fixed = SCALARS[f.type][2]
    if fixed is not None:
        return fixed
    return 1 if flexible else 2 if f.type == "string" else 4


def op_code(f, version, flexible):
    if f.array:
        if f.struct:
            kind = "STRUCT_ARRAY"
        elif f.type == "string":
            kind = "STRING_ARRAY"
        else:
            kind = "FIX_ARRAY"
    elif f.struct:
        kind = "STRUCT_PTR" if f.pointer else "STRUCT"
    elif f.type in ("bool", "string", "bytes", "records"):
        kind = f.type.upper()
    else:
        kind = FIXED_OPS[SCALARS[f.type][2]]
    code = "KP_OP_" + kind
    if flexible and not f.plain and kind in ("STRING", "BYTES", "RECORDS", "STRUCT_ARRAY",
                                             "STRING_ARRAY", "FIX_ARRAY"):
        code += " | KP_FLEX"
    if f.can_be_null(version):
        code += " | KP_NULLABLE"
    return code


def plan(struct, version):
    """(operations, counts) of one version: fields on the wire, tagged fields by tag, and those that
    the version lacks although they must not be lost."""
    flexible = version >= struct.message.flexible
    wire, tagged, absent = [], [], []
    for index, f in enumerate(struct.fields):
        op = "{%s, %d, offsetof(struct %s, %s)}" % (op_code(f, version, flexible), index,
                                                    struct.c_name, f.member)
        if not f.has(version):
            if not f.ignorable:
                absent.append(op)
        elif f.tag is not None:
            tagged.append((f.tag, op))
        else:
            wire.append(op)
    tagged.sort()
    if [t for t, _ in tagged] != list(range(len(tagged))):
        raise Fault("%s v%d: tags must be 0, 1, 2 ..." % (struct.c_name, version))
    ops = wire + [op for _, op in tagged] + absent
    return tuple(ops), len(wire), len(tagged), len(absent), min_bytes(struct, version), flexible


# ---------------------------------------------------------------- output

def emit_struct(struct, out):
    out.append("struct %s {" % struct.c_name)
    for f in struct.fields:
        c = "struct " + f.struct.c_name if f.struct else SCALARS[f.type][0]
        star = "*" if f.array or f.pointer else ""
        out.append("    %s %s%s;" % (c, star, f.member))
        if f.array:
            out.append("    int32_t %s_count;" % f.member)
    if not struct.fields:
        out.append("    char empty_; /* the message has no fields */")
    out.append("};")


def emit_header(messages, apis, out):
    out += ["/* Made by gen.py from *.kmsg; see common/protocol/README.md. Do not edit. */",
            "#ifndef COMMON_PROTOCOL_MESSAGES_H", "#define COMMON_PROTOCOL_MESSAGES_H", "",
            '#include "common/protocol/codec.h"', "", "enum kp_api_key {"]
    for key, name, _, _ in apis:
        out.append("    KP_API_%s = %d," % (snake(name).upper(), key))
    out += ["};", ""]
    for m in messages:
        for s in m.ordered:
            emit_struct(s, out)
        for s in reversed(m.ordered):
            out.append("extern const struct kp_schema %s_schema;" % s.c_name)
        out.append("")
    out += ["/* Every message, by name, for tests and tools. */",
            "extern const struct kp_schema *const kp_schemas[];",
            "extern const size_t kp_schema_count;", "", "#endif"]


def emit_fields(struct, out):
    if not struct.fields:
        return
    out.append("static const struct kp_field %s_fields[] = {" % struct.c_name)
    for f in struct.fields:
        kind = "STRUCT" if f.struct else SCALARS[f.type][1]
        shape = "KP_ARRAY" if f.array else "KP_POINTER" if f.pointer else "KP_SINGLE"
        json_name = f.name[0].lower() + f.name[1:]
        parts = ['"%s"' % json_name, "KP_" + kind, shape,
                 "offsetof(struct %s, %s)" % (struct.c_name, f.member),
                 "offsetof(struct %s, %s_count)" % (struct.c_name, f.member) if f.array else "0",
                 "%d" % (-1 if f.tag is None else f.tag), "true" if f.default_null else "false",
                 "INT64_C(%d)" % default_number(f),
                 "&%s_schema" % f.struct.c_name if f.struct else "NULL"]
        out.append("    {" + ", ".join(parts) + "},")
    out.append("};")


def default_number(f):
    if f.default is None or f.default_null:
        return 0
    return {"true": 1, "false": 0}[f.default] if f.type == "bool" else int(f.default, 0)


def emit_plans(struct, out):
    """Versions that look the same share one plan. Returns the number of plans."""
    m = struct.message
    plans, of_version = [], []
    for version in range(m.first, m.last + 1):
        p = plan(struct, version)
        if p not in plans:
            plans.append(p)
        of_version.append(plans.index(p))
    ops, starts = [], []
    for p in plans:
        starts.append(len(ops))
        ops += p[0]
    if ops:
        out.append("static const struct kp_op %s_ops[] = {" % struct.c_name)
        out += ["    %s," % op for op in ops]
        out.append("};")
    out.append("static const struct kp_plan %s_plans[] = {" % struct.c_name)
    for start, (_, wire, tagged, absent, least, flexible) in zip(starts, plans):
        first = "%s_ops + %d" % (struct.c_name, start) if ops else "NULL"
        out.append("    {%s, %d, %d, %d, %d, %s}," % (first, wire, tagged, absent, least,
                                                      "true" if flexible else "false"))
    out.append("};")
    out.append("static const uint8_t %s_plan_of[] = {%s};" % (struct.c_name,
                                                              ", ".join(map(str, of_version))))


def emit_schema(struct, out):
    m, c = struct.message, struct.c_name
    if len(struct.fields) > 255:
        raise Fault("%s has too many fields" % c)
    emit_fields(struct, out)
    emit_plans(struct, out)
    init = [i for f in struct.fields for i in f.initializer()]
    if init:
        out.append("static const struct %s %s_default = {%s};" % (c, c, ", ".join(init)))
    out.append("const struct kp_schema %s_schema = {" % c)
    out.append('    "%s", %s, %d, sizeof(struct %s), %d, %d,' % (
        struct.name, c + "_fields" if struct.fields else "NULL", len(struct.fields), c, m.first,
        m.last))
    out.append("    %s_plans, %s_plan_of, %s," % (c, c, "&%s_default" % c if init else "NULL"))
    out += ["};", ""]


def emit_source(messages, apis, out):
    out += ["/* Made by gen.py from *.kmsg; see common/protocol/README.md. Do not edit. */",
            '#include "common/protocol/messages.h"', "", '#include "common/protocol/schema.h"', ""]
    for m in messages:
        for s in m.ordered:
            emit_schema(s, out)
    out.append("const struct kp_schema *const kp_schemas[] = {")
    out += ["    &%s_schema," % m.c_name for m in sorted(messages, key=lambda m: m.name)]
    out += ["};", "const size_t kp_schema_count = %d;" % len(messages), "",
            "const struct kp_api kp_apis[] = {"]
    for key, name, req, resp in apis:
        out.append('    {%d, "%s", %d, %d, %d, &%s_schema, &%s_schema},' % (
            key, name, req.first, req.last, req.flexible, req.c_name, resp.c_name))
    out += ["};", "const size_t kp_api_count = %d;" % len(apis)]


def pair_apis(messages):
    """(key, name, request, response) by key; the two must agree on their versions."""
    pairs = {}
    for m in messages:
        if m.key is not None:
            if pairs.setdefault(m.key, {}).setdefault(m.kind, m) is not m:
                raise Fault("key %d has two %ss" % (m.key, m.kind))
    apis = []
    for key in sorted(pairs):
        pair = pairs[key]
        if len(pair) != 2:
            raise Fault("key %d lacks its request or response" % key)
        req, resp = pair["request"], pair["response"]
        name = req.name[:-len("Request")]
        if req.name != name + "Request" or resp.name != name + "Response":
            raise Fault("key %d: %s and %s do not belong together" % (key, req.name, resp.name))
        if (req.first, req.last, req.flexible) != (resp.first, resp.last, resp.flexible):
            raise Fault("key %d: request and response differ in their versions" % key)
        apis.append((key, name, req, resp))
    return apis


def check_element_sizes(messages):
    """A count is checked against the bytes that are left, so an element takes at least one."""
    for m in messages:
        for s in m.ordered:
            for f in s.fields:
                if not (f.array and f.struct):
                    continue
                for v in range(m.first, m.last + 1):
                    if f.has(v) and min_bytes(f.struct, v) == 0:
                        raise Fault("%s v%d: elements of %s may be empty" % (m.name, v, f.name))


def main(argv):
    if len(argv) < 3:
        sys.exit(__doc__)
    messages = []
    try:
        for path in argv[2:]:
            parse_file(path, messages)
        if len({m.name for m in messages}) != len(messages):
            raise Fault("a message is defined twice")
        for m in messages:
            resolve(m)
        check_element_sizes(messages)
        apis = pair_apis(messages)
        header, source = [], []
        emit_header(messages, apis, header)
        emit_source(messages, apis, source)
    except Fault as e:
        sys.exit("gen.py: %s" % e)
    for name, lines in (("messages.h", header), ("messages.c", source)):
        with open(os.path.join(argv[1], name), "w", encoding="ascii") as f:
            f.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(sys.argv)
