// Asks with MirrorMaker 2's own client and reads with its own classes; prints a line for each answer.
// Arguments: bootstrap servers, replication policy, alias of the source, alias of the target, group.

import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.TreeSet;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.connect.mirror.Checkpoint;
import org.apache.kafka.connect.mirror.Heartbeat;
import org.apache.kafka.connect.mirror.MirrorClient;
import org.apache.kafka.connect.mirror.OffsetSync;
import org.apache.kafka.connect.mirror.RemoteClusterUtils;

public class MirrorTools {
    public static void main(String[] args) throws Exception {
        Map<String, Object> properties = new HashMap<>();
        properties.put("bootstrap.servers", args[0]);
        properties.put("replication.policy.class", "org.apache.kafka.connect.mirror." + args[1] + "ReplicationPolicy");
        String alias = args[2];
        try (MirrorClient client = new MirrorClient(properties)) {
            System.out.println("upstream " + new TreeSet<>(client.upstreamClusters()));
            System.out.println("hops " + client.replicationHops(alias));
            System.out.println("heartbeats " + new TreeSet<>(client.heartbeatTopics()));
            System.out.println("checkpoints " + new TreeSet<>(client.checkpointTopics()));
            System.out.println("remote " + new TreeSet<>(client.remoteTopics(alias)));
            var policy = client.replicationPolicy();
            if (client.checkpointTopics().contains(policy.checkpointsTopic(alias))) {
                var offsets = RemoteClusterUtils.translateOffsets(properties, alias, args[4], Duration.ofSeconds(10));
                var sorted = new TreeMap<String, String>();
                offsets.forEach((partition, offset) -> sorted.put(partition.toString(), offset.offset() + offset.metadata()));
                System.out.println("offsets " + sorted);
            }
            read(args[0], policy.checkpointsTopic(alias), record -> Checkpoint.deserializeRecord(record).toString());
            read(args[0], policy.heartbeatsTopic(), record -> {
                Heartbeat heartbeat = Heartbeat.deserializeRecord(record);
                boolean fresh = Math.abs(System.currentTimeMillis() - heartbeat.timestamp()) < 600_000;
                return "Heartbeat " + heartbeat.sourceClusterAlias() + "->" + heartbeat.targetClusterAlias() + " " + fresh;
            });
            for (String cluster : List.of(alias, args[3])) {
                read(args[0], policy.offsetSyncsTopic(cluster), record -> OffsetSync.deserializeRecord(record).toString());
            }
        }
    }

    interface Reading {
        String read(ConsumerRecord<byte[], byte[]> record);
    }

    // The last record of each key, if there is such a topic.
    static void read(String servers, String topic, Reading reading) {
        Map<String, Object> properties = new HashMap<>(Map.of("bootstrap.servers", servers, "allow.auto.create.topics", false));
        var bytes = new ByteArrayDeserializer();
        try (var consumer = new KafkaConsumer<>(properties, bytes, new ByteArrayDeserializer())) {
            if (!consumer.listTopics().containsKey(topic)) {
                return;
            }
            var partition = new TopicPartition(topic, 0);
            consumer.assign(List.of(partition));
            consumer.seekToBeginning(List.of(partition));
            long end = consumer.endOffsets(List.of(partition)).get(partition);
            var last = new TreeMap<String, String>();
            while (consumer.position(partition) < end) {
                for (var record : consumer.poll(Duration.ofMillis(200))) {
                    last.put(new String(record.key(), java.nio.charset.StandardCharsets.ISO_8859_1), reading.read(record));
                }
            }
            last.values().forEach(text -> System.out.println(topic + " " + text));
        }
    }
}
