package kmirror

/*
#include <kmirror.h>
*/
import "C"

import (
	"encoding/json"
)

// Status is what a mirror knew of itself at one moment.
type Status struct {
	Name  string `json:"name"`
	State State  `json:"state"`
	// Lag of all topics together; its time is that of the worst partition. It says as of when both clusters were heard.
	Lag Lag `json:"lag"`
	// ReplicatedRecords since the start.
	ReplicatedRecords int64 `json:"replicated_records"`
	// ReplicatedBytes since the start, as compressed.
	ReplicatedBytes int64 `json:"replicated_bytes"`
	// EventsDropped because nobody received them.
	EventsDropped int64 `json:"events_dropped"`
	// Err is why the mirror has failed, an [*Error]; nil if it has not.
	Err error `json:"-"`
	// Topics by name.
	Topics []TopicStatus `json:"topics"`
	// Groups tells how far the offsets of consumer groups are copied.
	Groups GroupsStatus `json:"groups"`
	// BrokerThrottle tells whether brokers slow the mirror down, because a quota is used up.
	BrokerThrottle BrokerThrottle `json:"broker_throttle"`
	// Refused are topics that match but are not mirrored, and why.
	Refused map[string]string `json:"refused"`
	// Troubles are what beside the records cannot be kept in step at the moment; each is tried again with every refresh.
	Troubles []Trouble `json:"troubles"`
	// JSON is the whole as the library tells it, also what there is no field for.
	JSON json.RawMessage `json:"-"`
}

// TopicStatus is one topic of a [Status].
type TopicStatus struct {
	// Topic is its name at the source.
	Topic string `json:"topic"`
	// TargetTopic is its name on the target where that differs, otherwise empty.
	TargetTopic string `json:"target_topic"`
	// Lag of its partitions together.
	Lag Lag `json:"lag"`
	// Partitions by number.
	Partitions []PartitionStatus `json:"partitions"`
}

// PartitionStatus is one partition of a [TopicStatus].
type PartitionStatus struct {
	Partition int32 `json:"partition"`
	State     State `json:"state"`
	// SourceOffsetNext is the next offset of the source that consumers can see; -1 until it is known.
	SourceOffsetNext int64 `json:"source_offset_next"`
	// SourceHighWatermark is more than SourceOffsetNext while a transaction is open; -1 until it is known.
	SourceHighWatermark int64 `json:"source_high_watermark"`
	// TargetOffsetNext is the next offset to be replicated, the same number on both sides; -1 until it is known.
	TargetOffsetNext int64 `json:"target_offset_next"`
	Lag              Lag   `json:"lag"`
	// OpenTransaction is whose transaction has been open for so long that it holds the partition up; empty if none has.
	OpenTransaction string `json:"open_transaction"`
	// LeftOutOffsets are those that on.data.loss or on.record.refused has left out since the start.
	LeftOutOffsets int64 `json:"left_out_offsets"`
	// LeftOutAsEcho counts records that were not copied since the start because they had come from the target: with
	// offsets=translate, where another mirror copies the other way.
	LeftOutAsEcho int64 `json:"left_out_as_echo"`
	// Err is why it does not progress, an [*Error]; nil if it does.
	Err error `json:"-"`
}

// GroupsStatus tells how far the offsets of consumer groups are copied. Groups that are not are among the troubles of a [Status].
type GroupsStatus struct {
	// Matching groups have offsets in mirrored topics.
	Matching int `json:"matching"`
	// Synced groups are on the target what they are at the source.
	Synced int `json:"synced"`
	// Behind are groups that are not yet.
	Behind int `json:"behind"`
	// Skipped groups are left alone, or cannot be copied at the moment.
	Skipped int `json:"skipped"`
	// BehindOffsets are those that the groups on the target are behind, without those that are skipped.
	BehindOffsets int64 `json:"behind_offsets"`
}

// BrokerThrottle tells for how long brokers have asked the mirror to wait, because a quota of its user or client id is used up. The
// mirror waits as they ask.
type BrokerThrottle struct {
	// SourceMS are milliseconds of the last answer of the source that asked for it; nil if none has for half a minute.
	SourceMS *int64 `json:"source_ms"`
	// TargetMS are those of the target.
	TargetMS *int64 `json:"target_ms"`
}

// Trouble is something beside the records that cannot be kept in step at the moment.
type Trouble struct {
	// Subject is what it is, for example "group".
	Subject string `json:"subject"`
	// Name is which one.
	Name string `json:"name"`
	// Message is why.
	Message string `json:"message"`
}

type lagDocument struct {
	Records *int64 `json:"records"`
	Bytes   *int64 `json:"bytes"`
	MS      *int64 `json:"ms"`
	AsOf    struct {
		SourceMS *int64 `json:"source_ms"`
		TargetMS *int64 `json:"target_ms"`
	} `json:"as_of"`
}

// orMinusOne is a number that may not be known.
func orMinusOne(number *int64) int64 {
	if number == nil {
		return -1
	}
	return *number
}

// orNil is nil for a number that is not known.
func orNil(number int64) *int64 {
	if number < 0 {
		return nil
	}
	return &number
}

// UnmarshalJSON reads what the library writes.
func (l *Lag) UnmarshalJSON(data []byte) error {
	var document lagDocument
	if err := json.Unmarshal(data, &document); err != nil {
		return err
	}
	*l = Lag{
		Records:    orMinusOne(document.Records),
		Bytes:      orMinusOne(document.Bytes),
		Time:       lateness(orMinusOne(document.MS)),
		SourceAsOf: asOf(orMinusOne(document.AsOf.SourceMS)),
		TargetAsOf: asOf(orMinusOne(document.AsOf.TargetMS)),
	}
	return nil
}

// MarshalJSON writes what the library writes.
func (l Lag) MarshalJSON() ([]byte, error) {
	document := lagDocument{Records: orNil(l.Records), Bytes: orNil(l.Bytes)}
	if l.Time >= 0 {
		document.MS = orNil(l.Time.Milliseconds())
	}
	if !l.SourceAsOf.IsZero() {
		document.AsOf.SourceMS = orNil(l.SourceAsOf.UnixMilli())
	}
	if !l.TargetAsOf.IsZero() {
		document.AsOf.TargetMS = orNil(l.TargetAsOf.UnixMilli())
	}
	return json.Marshal(document)
}

// UnmarshalJSON reads what the library writes, where an offset that is not known is null.
func (p *PartitionStatus) UnmarshalJSON(data []byte) error {
	type plain PartitionStatus
	read := plain{SourceOffsetNext: -1, SourceHighWatermark: -1, TargetOffsetNext: -1}
	if err := json.Unmarshal(data, &read); err != nil {
		return err
	}
	*p = PartitionStatus(read)
	return nil
}

// Status returns everything the mirror knows of itself now.
func (m *Mirror) Status() (*Status, error) {
	pointer, err := m.enter()
	if err != nil {
		return nil, err
	}
	defer m.leave()
	var theirs *C.kmirror_status_t
	if err := taken(C.kmirror_status(pointer, &theirs)); err != nil {
		return nil, err
	}
	defer C.kmirror_status_free(theirs)

	status := &Status{JSON: json.RawMessage(C.GoString(C.kmirror_status_json(theirs)))}
	if err := json.Unmarshal(status.JSON, status); err != nil {
		return nil, failure(ErrInternal, "the status cannot be read: "+err.Error())
	}
	status.Err = copied(C.kmirror_status_error(theirs))
	for t := range status.Topics {
		for p := range status.Topics[t].Partitions {
			theirs := C.kmirror_status_partition_error(theirs, C.size_t(t), C.size_t(p))
			status.Topics[t].Partitions[p].Err = copied(theirs)
		}
	}
	return status, nil
}
