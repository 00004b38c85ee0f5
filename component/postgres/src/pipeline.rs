//! Pipelining: several requests to the server in one round trip.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

/// A request to the server. The first poll sends it.
pub type Sending<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// Sends all requests in order before it waits for the first answer, and returns the
/// answers in the same order.
pub async fn in_order<T>(mut requests: Vec<Sending<'_, T>>) -> Vec<T> {
    let mut answers: Vec<Option<T>> = Vec::with_capacity(requests.len());
    let mut is_sent = false;
    poll_fn(|context| {
        if !is_sent {
            is_sent = true;
            for request in &mut requests {
                answers.push(match request.as_mut().poll(context) {
                    Poll::Ready(answer) => Some(answer),
                    Poll::Pending => None,
                });
            }
        }
        // The answers come in the order of the requests.
        let pending = requests.iter_mut().zip(&mut answers);
        for (request, answer) in pending.filter(|(_, answer)| answer.is_none()) {
            match request.as_mut().poll(context) {
                Poll::Ready(ready) => *answer = Some(ready),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(())
    })
    .await;
    answers.into_iter().flatten().collect()
}
