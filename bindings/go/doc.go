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
// [errors.Is]. A deadline is also the engine's own limit, so that nothing of the call is left when it has passed. A call that is
// cancelled before that goes on in the background, on a goroutine of its own, and what it comes to is thrown away: [Start],
// [Plan] and [Verify] until they have their result, [Mirror.WaitUntilCaughtUp] until it has caught up or the mirror has stopped,
// Promote and [Mirror.Stop] for a limited time that their own descriptions name.
//
// # Errors
//
// What the engine has to say is an [*Error], for [errors.As]; its [Code] is also what [errors.Is] takes:
//
//	if errors.Is(err, kmirror.ErrDataLoss) {
//
// # Events and logs
//
// [Mirror.Events] is a channel of what happens, lag among it. Log lines go to where [Mirror.SetLogger] says, and nowhere before;
// the library itself writes nothing to standard output and standard error.
package kmirror
