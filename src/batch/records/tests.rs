//! TEMP
//! TEMP
