package kmirror

/*
#include <kmirror.h>
*/
import "C"

import "time"

// EventKind says what an event is about. Later versions may have more.
type EventKind string

// The kinds of events.
const (
	// EventStateChanged tells that the mirror is in another state now.
	EventStateChanged EventKind = "state_changed"
	// EventLag tells every lag.interval.ms how far the target is behind, of each topic and without a topic of all.
	EventLag EventKind = "lag"
	// EventLagAbove tells that the lag has come above a threshold.
	EventLagAbove EventKind = "lag_above"
	// EventLagBelow tells that the lag has come well below the threshold again.
	EventLagBelow EventKind = "lag_below"
	// EventTopicAdded tells of a topic that is mirrored now.
	EventTopicAdded EventKind = "topic_added"
	// EventTopicRemoved tells of a topic that is not mirrored any more.
	EventTopicRemoved EventKind = "topic_removed"
	// EventPartitionParked tells of a partition that cannot go on; the others do.
	EventPartitionParked EventKind = "partition_parked"
	// EventPartitionResumed tells of a partition that goes on.
	EventPartitionResumed EventKind = "partition_resumed"
	// EventDataLoss tells of source records that were gone before they were replicated.
	EventDataLoss EventKind = "data_loss"
	// EventGroupSynced tells of a consumer group whose offsets are the same on both sides now.
	EventGroupSynced EventKind = "group_synced"
	// EventGroupSkipped tells of a consumer group that is left alone, and why.
	EventGroupSkipped EventKind = "group_skipped"
	// EventError tells of trouble that may pass.
	EventError EventKind = "error"
)

// State is what a mirror, or a partition, is doing. Later versions may have more.
type State string

// The states of a mirror; those of a partition are the same where they apply.
const (
	// StateStarting has not begun to copy.
	StateStarting State = "starting"
	// StateCatchingUp copies what was there before.
	StateCatchingUp State = "catching_up"
	// StateInSync copies what comes as it comes.
	StateInSync State = "in_sync"
	// StateDegraded has partitions that do not progress.
	StateDegraded State = "degraded"
	// StateStalled has no partition that progresses, and tries again.
	StateStalled State = "stalled"
	// StatePaused does not fetch, because somebody said so.
	StatePaused State = "paused"
	// StateStopping is on its way to its end.
	StateStopping State = "stopping"
	// StateStopped has ended because somebody said so.
	StateStopped State = "stopped"
	// StatePromoted has ended for a switch-over.
	StatePromoted State = "promoted"
	// StateFailed has ended because it cannot go on.
	StateFailed State = "failed"
)

// hasEnded is whether nothing comes after this state.
func (s State) hasEnded() bool { return s == StateStopped || s == StatePromoted || s == StateFailed }

// Lag is how far the target is behind, as far as both clusters were heard. What is not known is negative, also in sums.
type Lag struct {
	// Records that the source has and the target has not; -1 if that is not known.
	Records int64
	// Bytes of them, estimated; -1 if that is not known.
	Bytes int64
	// Time is how old the oldest record is that the source has and the target has not, as far as that is known; 0 when nothing is
	// behind, -1 if it is not known.
	Time time.Duration
	// SourceAsOf is when the source was heard last, of the partition that was heard the longest ago; zero before the first time.
	SourceAsOf time.Time
	// TargetAsOf is when the target was heard last.
	TargetAsOf time.Time
}

// Event is something a mirror has to tell.
type Event struct {
	Kind EventKind
	// Time is when it happened.
	Time time.Time
	// State is what the mirror does now, of an [EventStateChanged].
	State State
	// Topic it is about; empty if it is about all, or none.
	Topic string
	// Partition it is about; -1 if it is about none.
	Partition int32
	// Group of consumers it is about; empty if it is about none, or about all.
	Group string
	// Lag of an event that is about lag, otherwise zero.
	Lag Lag
	// Message is the event as a sentence.
	Message string
	// Err is the reason, an [*Error]; nil if there is none.
	Err error
}

// String returns the event as a sentence.
func (e Event) String() string { return e.Message }

const (
	// pollSlice is how long the library is asked at once, so that no thread is held for long.
	pollSlice = 100
	// waiting are events between the library and whoever receives. Those that do not fit wait in the library.
	waiting = 64
)

// Events returns what the mirror has to tell, also what it has told since its start. It is one channel: each event goes to one
// receiver. It is closed when the mirror has ended and everything was received, and by [Mirror.Close].
//
// Nobody has to receive: the mirror never waits for it. It keeps 10,000 events and drops those about lag first; [Status.EventsDropped] counts.
func (m *Mirror) Events() <-chan Event {
	pointer, err := m.enter()
	if err != nil {
		return m.ended()
	}
	m.lock.Lock()
	isFirst := m.events == nil
	if isFirst {
		m.events, m.pumped = make(chan Event, waiting), make(chan struct{})
	}
	m.lock.Unlock()
	if isFirst {
		go m.pump(pointer)
	} else {
		m.leave()
	}
	return m.events
}

// ended returns the channel of a mirror that was closed: the one others have, or one that is closed.
func (m *Mirror) ended() <-chan Event {
	if m != nil {
		m.lock.Lock()
		defer m.lock.Unlock()
		if m.events != nil {
			return m.events
		}
	}
	none := make(chan Event)
	close(none)
	return none
}

// pump hands events over until the mirror has ended.
func (m *Mirror) pump(pointer *C.kmirror_t) {
	defer m.leave()
	defer close(m.pumped)
	defer close(m.events)
	for {
		// Asked before: what is told with the state is in the queue then.
		hasEnded := State(C.GoString(C.kmirror_state(pointer))).hasEnded()
		theirs := C.kmirror_poll(pointer, pollSlice)
		if theirs == nil {
			select {
			case <-m.closing:
				return
			default:
			}
			if hasEnded {
				return
			}
			continue
		}
		select {
		case m.events <- takenEvent(theirs):
		case <-m.closing:
			return
		}
	}
}

// takenEvent turns an event of the library, which is freed, into one of Go.
func takenEvent(theirs *C.kmirror_event_t) Event {
	defer C.kmirror_event_free(theirs)
	event := Event{
		Kind:      EventKind(C.GoString(C.kmirror_event_name(theirs))),
		Time:      time.UnixMilli(int64(C.kmirror_event_timestamp_ms(theirs))),
		State:     State(C.GoString(C.kmirror_event_state(theirs))),
		Topic:     C.GoString(C.kmirror_event_topic(theirs)),
		Partition: int32(C.kmirror_event_partition(theirs)),
		Group:     C.GoString(C.kmirror_event_group(theirs)),
		Message:   C.GoString(C.kmirror_event_message(theirs)),
		Err:       copied(C.kmirror_event_error(theirs)),
	}
	switch event.Kind {
	case EventLag, EventLagAbove, EventLagBelow:
		event.Lag = Lag{
			Records:    int64(C.kmirror_event_lag_records(theirs)),
			Bytes:      int64(C.kmirror_event_lag_bytes(theirs)),
			Time:       lateness(int64(C.kmirror_event_lag_ms(theirs))),
			SourceAsOf: asOf(int64(C.kmirror_event_source_as_of_ms(theirs))),
			TargetAsOf: asOf(int64(C.kmirror_event_target_as_of_ms(theirs))),
		}
	}
	return event
}

// lateness is a time in milliseconds, where -1 is one that is not known.
func lateness(ms int64) time.Duration {
	if ms < 0 {
		return -1
	}
	return time.Duration(ms) * time.Millisecond
}

// asOf is a time of day in milliseconds since 1970, where -1 is none.
func asOf(ms int64) time.Time {
	if ms < 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}
