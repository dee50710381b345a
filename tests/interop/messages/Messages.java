// SPDX-License-Identifier: Apache-2.0
// Random messages of every version between our codec and Kafka's own message classes, both ways: what one side
// encodes, the other decodes and encodes again to the same bytes.
// Usage: java Messages INTEROP_MESSAGES_PROGRAM MESSAGES_PER_VERSION SEED

import java.io.*;
import java.lang.reflect.*;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.*;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.protocol.*;
import org.apache.kafka.common.protocol.types.*;
import org.apache.kafka.common.record.MemoryRecords;
import org.apache.kafka.common.record.BaseRecords;

public class Messages {
    static final String[] PLACES = {"org.apache.kafka.common.message.%sData", "org.apache.kafka.common.message.%s",
        "org.apache.kafka.coordinator.group.generated.%s", "org.apache.kafka.coordinator.transaction.generated.%s"};

    /** One message of ours, with Kafka's class for it. */
    static class Entry {
        String name;
        int first, last;
        Class<?> type;
    }

    static Random random;
    static final Map<String, String> differences = new TreeMap<>(); // "name version" -> the first one
    static long differenceCount;

    static void differ(String name, int version, String what) {
        differenceCount++;
        differences.putIfAbsent(name + " version " + version, what);
    }

    static Class<?> find(String name) {
        for (String place : PLACES) {
            try {
                return Class.forName(String.format(place, name));
            } catch (ClassNotFoundException e) {
                // the next place
            }
        }
        return null;
    }

    static List<Entry> list(String program) throws Exception {
        List<Entry> entries = new ArrayList<>();
        Process p = new ProcessBuilder(program, "list").redirectError(ProcessBuilder.Redirect.INHERIT).start();
        try (BufferedReader r = new BufferedReader(new InputStreamReader(p.getInputStream()))) {
            for (String line; (line = r.readLine()) != null;) {
                String[] words = line.split(" ");
                Entry e = new Entry();
                e.name = words[0];
                e.first = Integer.parseInt(words[1]);
                e.last = Integer.parseInt(words[2]);
                e.type = find(e.name);
                entries.add(e);
            }
        }
        return entries;
    }

    static ApiMessage create(Class<?> type) throws Exception {
        return (ApiMessage) type.getDeclaredConstructor().newInstance();
    }

    static byte[] encode(Message m, short version) {
        ByteBuffer b = MessageUtil.toByteBuffer(m, version);
        byte[] bytes = new byte[b.remaining()];
        b.get(bytes);
        return bytes;
    }

    // ---------------------------------------------------------------- random messages of Kafka's classes

    static String plain(String name) {
        return name.replace("_", "").toLowerCase(Locale.ROOT);
    }

    static java.lang.reflect.Field member(Class<?> type, String name) {
        for (java.lang.reflect.Field f : type.getDeclaredFields()) {
            if (!Modifier.isStatic(f.getModifiers()) && plain(f.getName()).equals(plain(name))) {
                f.setAccessible(true);
                return f;
            }
        }
        throw new IllegalStateException(type + " has no member " + name);
    }

    static long number() {
        switch (random.nextInt(4)) {
            case 0: return 0;
            case 1: return random.nextInt(200);
            case 2: return -1 - random.nextInt(3);
            default: return random.nextLong();
        }
    }

    static String string() {
        StringBuilder s = new StringBuilder();
        String[] wide = {"\u00e9", "\u20ac", "\ud83d\ude00"};
        for (int n = random.nextInt(random.nextInt(40) == 0 ? 300 : 20); n > 0; n--)
            s.append(random.nextInt(16) == 0 ? wide[random.nextInt(3)] : (char) (' ' + random.nextInt(95)));
        return s.toString();
    }

    static byte[] bytes() {
        byte[] b = new byte[random.nextInt(random.nextInt(16) == 0 ? 300 : 64)];
        random.nextBytes(b);
        return b;
    }

    @SuppressWarnings("unchecked")
    static Map<Integer, org.apache.kafka.common.protocol.types.Field> tagged(TaggedFields t) throws Exception {
        java.lang.reflect.Field f = TaggedFields.class.getDeclaredField("fields");
        f.setAccessible(true);
        return (Map<Integer, org.apache.kafka.common.protocol.types.Field>) f.get(t);
    }

    /** Sets every field of that version, of tagged ones about half. */
    static void fill(Object target, Schema schema) throws Exception {
        for (BoundField bound : schema.fields()) {
            if (bound.def.type instanceof TaggedFields) {
                for (org.apache.kafka.common.protocol.types.Field f : tagged((TaggedFields) bound.def.type).values())
                    if (random.nextBoolean())
                        set(target, f);
            } else {
                set(target, bound.def);
            }
        }
    }

    static void set(Object target, org.apache.kafka.common.protocol.types.Field f) throws Exception {
        java.lang.reflect.Field m = member(target.getClass(), f.name);
        // Kafka's schemas do not say that a struct may be null; its default does
        boolean nullable = f.type.isNullable() || f.type instanceof Schema && m.get(target) == null;
        m.set(target, nullable && random.nextInt(4) == 0 ? null : value(m.getGenericType(), f.type));
    }

    @SuppressWarnings({"unchecked", "rawtypes"})
    static Object value(java.lang.reflect.Type java, org.apache.kafka.common.protocol.types.Type type) throws Exception {
        Class<?> c = java instanceof ParameterizedType ? (Class<?>) ((ParameterizedType) java).getRawType() : (Class<?>) java;
        if (type.isArray()) {
            org.apache.kafka.common.protocol.types.Type element = type.arrayElementType().get();
            java.lang.reflect.Type elementJava = java instanceof ParameterizedType
                ? ((ParameterizedType) java).getActualTypeArguments()[0]
                : ((ParameterizedType) c.getGenericSuperclass()).getActualTypeArguments()[0];
            Collection all = c == List.class ? new ArrayList<>() : (Collection) c.getDeclaredConstructor().newInstance();
            // elements with equal keys may stand side by side in Kafka's collections
            for (int n = random.nextInt(4); n > 0; n--)
                all.add(value(elementJava, element));
            return all;
        }
        if (type instanceof Schema) {
            Object o = c.getDeclaredConstructor().newInstance();
            fill(o, (Schema) type);
            return o;
        }
        long n = number();
        if (c == boolean.class) return (n & 1) != 0;
        if (c == byte.class || c == Byte.class) return (byte) n;
        if (c == short.class || c == Short.class) return (short) n;
        if (c == int.class || c == Integer.class) return type.toString().startsWith("UINT16") ? (int) n & 0xffff : (int) n;
        if (c == long.class || c == Long.class) return type.toString().startsWith("UINT32") ? n & 0xffffffffL : n;
        if (c == double.class) return (double) (int) n / 8;
        if (c == String.class) return string();
        if (c == Uuid.class) return n == 0 ? Uuid.ZERO_UUID : new Uuid(random.nextLong(), random.nextLong());
        if (c == byte[].class) return bytes();
        if (c == ByteBuffer.class) return ByteBuffer.wrap(bytes());
        if (BaseRecords.class.isAssignableFrom(c)) return MemoryRecords.readableRecords(ByteBuffer.wrap(bytes()));
        throw new IllegalStateException("cannot make a " + java);
    }

    // ---------------------------------------------------------------- both ways

    /** Kafka encodes, we decode and encode again. Returns the number of messages. */
    static long theirs(String program, List<Entry> entries, int count) throws Exception {
        Process p = new ProcessBuilder(program, "echo").redirectError(ProcessBuilder.Redirect.INHERIT).start();
        DataOutputStream out = new DataOutputStream(new BufferedOutputStream(p.getOutputStream(), 1 << 16));
        DataInputStream in = new DataInputStream(new BufferedInputStream(p.getInputStream(), 1 << 16));
        long sent = 0;
        for (Entry e : entries) {
            if (e.type == null)
                continue;
            Schema[] schemas = (Schema[]) e.type.getField("SCHEMAS").get(null);
            for (int v = e.first; v <= e.last; v++) {
                List<byte[]> batch = new ArrayList<>();
                for (int n = 0; n < count; n++) {
                    ApiMessage m = create(e.type);
                    fill(m, schemas[v]);
                    batch.add(encode(m, (short) v));
                }
                final int version = v;
                Thread writer = new Thread(() -> send(out, e.name, version, batch));
                writer.start();
                for (byte[] want : batch)
                    compare(e.name, v, want, in);
                writer.join();
                sent += batch.size();
            }
        }
        out.close();
        if (p.waitFor() != 0)
            throw new IllegalStateException(program + " ended with an error");
        return sent;
    }

    static void send(DataOutputStream out, String name, int version, List<byte[]> batch) {
        try {
            for (byte[] b : batch) {
                out.writeShort(name.length());
                out.writeBytes(name);
                out.writeShort(version);
                out.writeInt(b.length);
                out.write(b);
            }
            out.flush();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    static void compare(String name, int version, byte[] want, DataInputStream in) throws IOException {
        int length = in.readInt();
        byte[] got = in.readNBytes(Math.abs(length));
        if (length < 0)
            differ(name, version, new String(got, StandardCharsets.UTF_8));
        else if (!Arrays.equals(want, got))
            differ(name, version, "Kafka " + HexFormat.of().formatHex(want) + " we " + HexFormat.of().formatHex(got));
    }

    /** We encode, Kafka decodes and encodes again. */
    static long ours(String program, List<Entry> entries, int count, long seed) throws Exception {
        Map<String, Entry> byName = new HashMap<>();
        for (Entry e : entries)
            byName.put(e.name, e);
        Process p = new ProcessBuilder(program, "random", Long.toString(seed), Integer.toString(count))
            .redirectError(ProcessBuilder.Redirect.INHERIT).start();
        DataInputStream in = new DataInputStream(new BufferedInputStream(p.getInputStream(), 1 << 16));
        long received = 0;
        while (true) {
            int nameLength;
            try {
                nameLength = in.readShort();
            } catch (EOFException e) {
                break;
            }
            String name = new String(in.readNBytes(nameLength), StandardCharsets.US_ASCII);
            short version = in.readShort();
            byte[] want = in.readNBytes(in.readInt());
            if (byName.get(name).type == null)
                continue;
            received++;
            try {
                ApiMessage m = create(byName.get(name).type);
                ByteBuffer b = ByteBuffer.wrap(want);
                m.read(new ByteBufferAccessor(b), version);
                byte[] got = encode(m, version);
                if (b.hasRemaining())
                    differ(name, version, "Kafka left " + b.remaining() + " bytes of ours");
                else if (!Arrays.equals(want, got))
                    differ(name, version, "we " + HexFormat.of().formatHex(want) + " Kafka " + HexFormat.of().formatHex(got));
            } catch (RuntimeException e) {
                differ(name, version, "Kafka cannot read " + HexFormat.of().formatHex(want) + ": " + e);
            }
        }
        if (p.waitFor() != 0)
            throw new IllegalStateException(program + " ended with an error");
        return received;
    }

    public static void main(String[] args) throws Exception {
        String program = args[0];
        int count = Integer.parseInt(args[1]);
        long seed = Long.parseLong(args[2]);
        random = new Random(seed);
        List<Entry> entries = list(program);
        int messages = 0, versions = 0;
        for (Entry e : entries) {
            if (e.type == null) {
                System.out.println("Kafka has no generated class for " + e.name);
                continue;
            }
            messages++;
            versions += e.last - e.first + 1;
            ApiMessage m = create(e.type);
            if (m.highestSupportedVersion() != e.last || m.lowestSupportedVersion() != e.first)
                differ(e.name, e.last, "Kafka knows versions " + m.lowestSupportedVersion() + " to " + m.highestSupportedVersion());
        }
        long theirs = theirs(program, entries, count);
        long ours = ours(program, entries, count, seed);
        int shown = 0;
        for (Map.Entry<String, String> d : differences.entrySet())
            if (shown++ < 20)
                System.out.println(d.getKey() + ": " + d.getValue());
        System.out.printf("%d messages in %d versions, seed %d: %d encoded by Kafka, %d by us, %d differences%n", messages,
            versions, seed, theirs, ours, differenceCount);
        System.out.printf("%d passed, %d failed%n", versions - differences.size(), differences.size());
        System.exit(differences.isEmpty() && messages > 0 ? 0 : 1);
    }
}
