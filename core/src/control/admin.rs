//! stub
use super::lifecycle::{Ask, Control};
use crate::config::ProcessConfig;
use std::rc::Rc;
use tokio::sync::mpsc;
pub(super) struct Listeners {}
impl Listeners {
    pub(super) fn bind(_process: &ProcessConfig) -> Result<Listeners, String> {
        Ok(Listeners {})
    }
    pub(super) fn serve(self, _control: Rc<Control>, _asks: mpsc::Sender<Ask>) {}
}
