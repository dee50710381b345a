// SPDX-License-Identifier: Apache-2.0
// What Kafka 3.9 says of options, for test_options.py. Lines of tab-separated fields on standard input, one line of answer each; in a
// value \e stands for nothing at all (null).
//   Options list                 every option of the broker and of topics: kind, name, type, default, validator, "dynamic" or nothing
//   Options static               lines "name value": does KafkaConfig take the option in a properties file? "taken" or "refused: why"
//   Options alter BOOTSTRAP      lines "kind entity name operation value only-validate": NONE or the error, as a broker answers
//   Options create BOOTSTRAP     lines "topic name value": the error of a creation that is only validated
//   Options describe BOOTSTRAP   lines "kind entity": all entries: name, value, source, read-only, secret, type, synonyms; then a blank line
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.ExecutionException;
import java.util.stream.Collectors;
import kafka.server.KafkaConfig;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.AlterConfigsOptions;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.CreateTopicsOptions;
import org.apache.kafka.clients.admin.DescribeConfigsOptions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.common.KafkaFuture;
import org.apache.kafka.common.config.ConfigDef;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.protocol.Errors;
import org.apache.kafka.storage.internals.log.LogConfig;

public class Options {
    static final PrintStream out = new PrintStream(System.out, false);

    static String shown(Object o) {
        return o == null ? "\\e" : o.toString().replace("\n", " ").replace("\t", " ");
    }

    @SuppressWarnings("unchecked")
    static Set<String> names(String object, String method) throws Exception {
        Object module = Class.forName(object + "$").getField("MODULE$").get(null);
        Object set = module.getClass().getMethod(method).invoke(module);
        return scala.jdk.javaapi.CollectionConverters.asJava((scala.collection.Set<String>) set);
    }

    static void list() throws Exception {
        Set<String> dynamic = names("kafka.server.DynamicBrokerConfig", "AllDynamicConfigs");
        print("broker", KafkaConfig.configDef(), dynamic);
        print("topic", LogConfig.configDefCopy(), dynamic);
    }

    static void print(String kind, ConfigDef def, Set<String> dynamic) {
        for (ConfigDef.ConfigKey k : new TreeMap<>(def.configKeys()).values())
            out.println(String.join("\t", kind, k.name, k.type.toString(),
                shown(k.hasDefault() ? ConfigDef.convertToString(k.defaultValue, k.type) : null), shown(k.validator),
                kind.equals("broker") && dynamic.contains(k.name) ? "dynamic" : ""));
    }

    static String inFile(String name, String value) {
        Properties p = new Properties();
        p.put("zookeeper.connect", "127.0.0.1:1");
        p.put("broker.id", "0");
        p.put(name, value);
        try {
            KafkaConfig c = KafkaConfig.fromProps(p, false);
            new LogConfig(c.extractLogConfigMap());
            return "taken";
        } catch (Exception e) {
            return "refused: " + shown(e.getMessage());
        }
    }

    static ConfigResource resource(String kind, String entity) {
        return new ConfigResource(kind.equals("topic") ? ConfigResource.Type.TOPIC : ConfigResource.Type.BROKER, entity);
    }

    static String error(KafkaFuture<?> f) throws InterruptedException {
        try {
            f.get();
            return "NONE";
        } catch (ExecutionException e) {
            return Errors.forException(e.getCause()) + ": " + shown(e.getCause().getMessage());
        }
    }

    static KafkaFuture<Void> alter(Admin admin, String[] f) {
        AlterConfigOp op = new AlterConfigOp(new ConfigEntry(f[2], f[4].equals("\\e") ? null : f[4]), AlterConfigOp.OpType.valueOf(f[3]));
        ConfigResource r = resource(f[0], f[1]);
        Map<ConfigResource, Collection<AlterConfigOp>> changes = Map.of(r, List.of(op));
        return admin.incrementalAlterConfigs(changes, new AlterConfigsOptions().validateOnly(f[5].equals("true"))).all();
    }

    static KafkaFuture<Void> create(Admin admin, String[] f) {
        NewTopic t = new NewTopic(f[0], 1, (short) 1).configs(Map.of(f[1], f[2]));
        return admin.createTopics(List.of(t), new CreateTopicsOptions().validateOnly(true)).all();
    }

    static void describe(Admin admin, String[] f) throws Exception {
        ConfigResource r = resource(f[0], f.length > 1 ? f[1] : "");
        DescribeConfigsOptions o = new DescribeConfigsOptions().includeSynonyms(true);
        for (ConfigEntry e : new ArrayList<>(admin.describeConfigs(List.of(r), o).all().get().get(r).entries()))
            out.println(String.join("\t", e.name(), shown(e.value()), e.source().toString(), "" + e.isReadOnly(), "" + e.isSensitive(),
                e.type().toString(), e.synonyms().stream().map(s -> s.source() + "|" + s.name() + "|" + shown(s.value()))
                .collect(Collectors.joining("\u0001"))));
        out.println();
    }

    public static void main(String[] a) throws Exception {
        if (a[0].equals("list")) {
            list();
            out.flush();
            return;
        }
        Admin admin = a.length > 1 ? Admin.create(Map.of("bootstrap.servers", a[1])) : null;
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
        for (String line; (line = in.readLine()) != null;) {
            String[] f = line.split("\t", -1);
            if (a[0].equals("static"))
                out.println(inFile(f[0], f[1]));
            else if (a[0].equals("alter"))
                out.println(error(alter(admin, f)));
            else if (a[0].equals("create"))
                out.println(error(create(admin, f)));
            else
                describe(admin, f);
            out.flush();
        }
        if (admin != null)
            admin.close();
    }
}
