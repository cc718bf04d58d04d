import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.nio.file.StandardCopyOption;
import java.util.Arrays;
import java.util.Map;
import java.util.Optional;
import org.apache.kafka.server.log.remote.storage.LogSegmentData;
import org.apache.kafka.server.log.remote.storage.RemoteLogSegmentMetadata;
import org.apache.kafka.server.log.remote.storage.RemoteLogSegmentMetadata.CustomMetadata;
import org.apache.kafka.server.log.remote.storage.RemoteResourceNotFoundException;
import org.apache.kafka.server.log.remote.storage.RemoteStorageException;
import org.apache.kafka.server.log.remote.storage.RemoteStorageManager;

/**
 * The remote tier of a broker in a folder (KIP-405). While there is a file "slow.TOPIC", every read of a segment of that
 * topic takes as many milliseconds as it says; every read is counted as a line of "reads.TOPIC".
 */
public class SlowStorage implements RemoteStorageManager {
    private static final String[] KINDS = {"log", "OFFSET", "TIMESTAMP", "PRODUCER_SNAPSHOT", "TRANSACTION", "LEADER_EPOCH"};
    private Path folder;

    @Override
    public void configure(Map<String, ?> configs) {
        folder = Paths.get(String.valueOf(configs.get("folder")));
        try {
            Files.createDirectories(folder);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private Path file(RemoteLogSegmentMetadata segment, String kind) {
        return folder.resolve(segment.remoteLogSegmentId().id() + "." + kind);
    }

    private void keep(Path from, RemoteLogSegmentMetadata segment, String kind) throws IOException {
        if (from != null && Files.exists(from)) {
            Files.copy(from, file(segment, kind), StandardCopyOption.REPLACE_EXISTING);
        }
    }

    @Override
    public Optional<CustomMetadata> copyLogSegmentData(RemoteLogSegmentMetadata segment, LogSegmentData data)
            throws RemoteStorageException {
        try {
            keep(data.logSegment(), segment, "log");
            keep(data.offsetIndex(), segment, "OFFSET");
            keep(data.timeIndex(), segment, "TIMESTAMP");
            keep(data.producerSnapshotIndex(), segment, "PRODUCER_SNAPSHOT");
            keep(data.transactionIndex().orElse(null), segment, "TRANSACTION");
            ByteBuffer epochs = data.leaderEpochIndex().duplicate();
            byte[] bytes = new byte[epochs.remaining()];
            epochs.get(bytes);
            Files.write(file(segment, "LEADER_EPOCH"), bytes);
        } catch (IOException e) {
            throw new RemoteStorageException(e);
        }
        return Optional.empty();
    }

    private void count(String topic) throws IOException {
        Files.writeString(folder.resolve("reads." + topic), "read\n",
            java.nio.file.StandardOpenOption.CREATE, java.nio.file.StandardOpenOption.APPEND);
    }

    private void delay(String topic) throws IOException {
        try {
            Path slow = folder.resolve("slow." + topic);
            if (Files.exists(slow)) {
                Thread.sleep(Long.parseLong(Files.readString(slow).trim()));
            }
        } catch (IOException | NumberFormatException e) {
            // It is being written or removed at this moment.
        } catch (InterruptedException e) {
            // Brokers up to 3.7 interrupt a read that nobody waits for any more. If the thread went on as interrupted, it would
            // close the channel of the broker's own index, and every later read of the segment would fail until a restart.
            throw new IOException("the read was given up", e);
        }
    }

    @Override
    public InputStream fetchLogSegment(RemoteLogSegmentMetadata segment, int from) throws RemoteStorageException {
        String topic = segment.topicIdPartition().topicPartition().topic();
        try {
            count(topic);
            delay(topic);
            InputStream stream = Files.newInputStream(file(segment, "log"));
            stream.skipNBytes(from);
            return stream;
        } catch (IOException e) {
            throw new RemoteStorageException(e);
        }
    }

    @Override
    public InputStream fetchLogSegment(RemoteLogSegmentMetadata segment, int from, int to) throws RemoteStorageException {
        return fetchLogSegment(segment, from);
    }

    @Override
    public InputStream fetchIndex(RemoteLogSegmentMetadata segment, IndexType type) throws RemoteStorageException {
        Path path = file(segment, type.name());
        if (!Files.exists(path)) {
            throw new RemoteResourceNotFoundException("no " + type);
        }
        try {
            return Files.newInputStream(path);
        } catch (IOException e) {
            throw new RemoteStorageException(e);
        }
    }

    @Override
    public void deleteLogSegmentData(RemoteLogSegmentMetadata segment) throws RemoteStorageException {
        for (String kind : Arrays.asList(KINDS)) {
            try {
                Files.deleteIfExists(file(segment, kind));
            } catch (IOException e) {
                throw new RemoteStorageException(e);
            }
        }
    }

    @Override
    public void close() {
    }
}
