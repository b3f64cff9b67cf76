//! Follows the files of certificates, and puts what they say in force.

use std::rc::Rc;

use super::follow;
use super::lifecycle::Control;
use crate::tls::{Swap, Watcher};
use crate::{log_error, log_info, log_warning};

/// Looks at the files of the current configuration until the control thread ends.
pub(super) fn follow(control: &Rc<Control>) {
    follow::follow(control, Watcher::look, |control, swaps| {
        swaps.iter().for_each(|swap| report(control, swap));
    });
}

fn report(control: &Control, swap: &Swap) {
    let stats = &control.stats.process;
    match &swap.result {
        Ok(warnings) => {
            stats.certificate_swaps.increment();
            log_info!("certificates read again of={}", swap.of);
            for warning in warnings {
                log_warning!("  {warning}");
            }
        }
        Err(problems) => {
            stats.certificate_failures.increment();
            log_error!(
                "certificates have changed and cannot be used, those of before stay in force of={}",
                swap.of
            );
            for problem in problems {
                log_error!("  {problem}");
            }
        }
    }
}
