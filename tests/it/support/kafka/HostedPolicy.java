import java.util.Map;
import org.apache.kafka.common.errors.PolicyViolationException;
import org.apache.kafka.server.policy.AlterConfigPolicy;
import org.apache.kafka.server.policy.CreateTopicPolicy;

/** What hosted clusters forbid: small segments, some names, and topics called by-hand without a setting of somebody's own. */
public class HostedPolicy implements CreateTopicPolicy, AlterConfigPolicy {
    @Override
    public void configure(Map<String, ?> configs) {
    }

    @Override
    public void close() {
    }

    @Override
    public void validate(AlterConfigPolicy.RequestMetadata request) {
        checkSegments(request.configs().get("segment.bytes"));
    }

    private static void checkSegments(String segment) {
        if (segment != null && Long.parseLong(segment) < 52428800L) {
            throw new PolicyViolationException("Config property 'segment.bytes' with value '" + segment
                + "' is lower than the minimum allowed value of 52428800.");
        }
    }

    @Override
    public void validate(CreateTopicPolicy.RequestMetadata request) {
        checkSegments(request.configs().get("segment.bytes"));
        if (request.topic().contains("misnamed")) {
            throw new PolicyViolationException("Topics are not called like this here.");
        }
        if (request.topic().contains("by-hand") && !request.configs().containsKey("flush.ms")) {
            throw new PolicyViolationException("Such topics are made by hand here.");
        }
    }
}
