// Package kmirror copies a Kafka cluster to another one, live, from inside a program: same offsets, exactly once, never a
// silent loss.
//
//	mirror, err := kmirror.Start(ctx, kmirror.Config{
//		"source.bootstrap.servers": "a:9092",
//		"target.bootstrap.servers": "b:9092",
//		"topics":                   "orders",
//	})
//	if err != nil {
//		return err
//	}
//	defer mirror.Close()
//	return mirror.WaitUntilCaughtUp(ctx)
//
// It is the C library libkmirror, found by pkg-config: `make install-c` in kmirror's repository installs it. Where that is not
// one of the system's places, PKG_CONFIG_PATH says where kmirror.pc is, and LD_LIBRARY_PATH, or
// CGO_LDFLAGS=-Wl,-rpath,DIRECTORY, where the library is when the program runs.
//
// # Mirrors
//
// A [Mirror] may be used from any number of goroutines. It runs in threads of its own until [Mirror.Stop] or [Mirror.Close];
// Close also frees it, and has to be called. After it every method fails with [ErrState], and none crashes.
//
// # Contexts
//
// What takes time takes a context, and returns as soon as that is cancelled, with an error that is the context's for
// [errors.Is]. What the call has begun in the library ends within about a tenth of a second: [Start] stops its mirror, [Plan] and
// [Verify] break off, [Mirror.WaitUntilCaughtUp] leaves the mirror as it is, and Promote marks nothing unless it is too late for
// that, when it comes to its end. Only [Mirror.Stop] goes on, for the time that its description names.
//
// # Errors
//
// What the engine has to say is an [*Error], for [errors.As]; its [Code] is also what [errors.Is] takes:
//
//	if errors.Is(err, kmirror.ErrDataLoss) {
//
// # Events and logs
//
// [Mirror.Events] is a channel of what happens, lag among it. Log lines go to where [WithLogger] or [Mirror.SetLogger] says, and
// nowhere before; the library itself writes nothing to standard output and standard error.
package kmirror
